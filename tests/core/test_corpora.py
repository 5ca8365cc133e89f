"""Corpora: where texts come from, what is cached, and what is said of those that cannot be had."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from rlfl_envs import ConfigError, MissingDependencyError, cache_folder, load_task
from rlfl_envs.cache import keep
from rlfl_envs.corpora import corpus_tokenizer, load_corpus, read_lines
from rlfl_envs.tasks.sentiment.reviews import load_reviews
from tests.settings import SENTIMENT, missing


def test_a_text_file(tmp_path: Path) -> None:
    """One text per line; empty and short ones do not count."""
    path = tmp_path / "texts.txt"
    path.write_text("one  two\n\nthree<br />four\nfive\n", encoding="utf-8")
    assert load_corpus(str(path)).texts == ("one two", "three four", "five")
    assert load_corpus(str(path), 4).texts == ("one two", "three four")


def test_only_newlines_end_a_text(tmp_path: Path) -> None:
    """A file has as many texts as lines, whatever else counts as a line's end to Python."""
    path = tmp_path / "texts.txt"
    path.write_bytes("one\x85a\r\ntwo\u2028b\x0bc\nthree\rd\n".encode())
    assert load_corpus(str(path)).texts == ("one a", "two b c", "three d")


@pytest.mark.skipif(bool(missing(SENTIMENT)), reason=f"needs {', '.join(missing(SENTIMENT))}")
def test_a_task_on_a_text_file(tmp_path: Path) -> None:
    """A file of one's own gives prompts and vocabulary."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"my dog number {i} is good" for i in range(300)), encoding="utf-8")
    task = load_task(SENTIMENT, corpus=str(path), min_characters=10, vocabulary_size=300)
    assert task.sample_prompts(np.random.default_rng(0), 1)[0].text.startswith("my")


def test_lines_as_they_are(tmp_path: Path) -> None:
    """Nothing but their ends is taken away, and what cannot be read is called what the user calls it."""
    path = tmp_path / "lines.txt"
    path.write_bytes(b" 1 + 1 = \r\n\n\tx\r<br />")
    assert read_lines(path, "prompts") == [" 1 + 1 = ", "", "\tx\r<br />"]
    with pytest.raises(ConfigError, match=r"^prompts='.*nowhere\.txt' cannot be read as UTF-8 text"):
        read_lines(tmp_path / "nowhere.txt", "prompts")


def test_files_that_are_no_corpus(tmp_path: Path) -> None:
    """Empty, or not text."""
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("\n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"has no text of more than 0 characters\.$"):
        load_corpus(str(empty))
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        load_corpus(str(binary))


def test_a_dataset_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training texts of a Hugging Face dataset; a name that cannot be loaded gets one sentence."""

    class Dataset(dict[str, list[str | None]]):
        column_names = property(lambda self: list(self))

    def load_dataset(name: str, split: str) -> Dataset:
        if name == "no/such":
            raise ConnectionError("no network")
        assert split == "train"
        return Dataset(label=["x"]) if name == "no/texts" else Dataset(review=["a b", None, "c d"])

    module = types.ModuleType("datasets")
    vars(module)["load_dataset"] = load_dataset
    module.__spec__ = importlib.util.spec_from_loader("datasets", None)
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert load_corpus("some/reviews").texts == ("a b", "c d")
    with pytest.raises(ConfigError, match=r"^corpus='no/such' is no file, and no dataset .* \(ConnectionError: no net"):
        load_corpus("no/such")
    with pytest.raises(ConfigError, match=r"^corpus='no/texts' has the columns \['label'\]"):
        load_corpus("no/texts")


def test_without_the_datasets_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no file, nothing installed: what is allowed, and what to install. No network is touched."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "datasets" else found(name))
    with pytest.raises(MissingDependencyError, match=r"^corpus='revews' is no file; .* pip install datasets$"):
        load_corpus("revews")


def test_a_vocabulary_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it is read from the cache, the same; two trainings agree."""
    monkeypatch.setenv("RLFL_CACHE", str(tmp_path))
    corpus = load_reviews("template", 200)
    first = corpus_tokenizer(corpus, 400)
    (path,) = cache_folder().rglob("tokenizer.json")
    written = path.stat().st_mtime_ns
    again = corpus_tokenizer(corpus, 400)
    assert path.stat().st_mtime_ns == written
    path.unlink()
    anew = corpus_tokenizer(corpus, 400)
    assert first.backend.get_vocab() == again.backend.get_vocab() == anew.backend.get_vocab()
    assert (first.pad_id, first.bos_id, first.eos_id) == (again.pad_id, again.bos_id, again.eos_id) == (0, 1, 2)
    assert first.decode(first.encode("naïve 漢字 🙂")) == "naïve 漢字 🙂"


def test_a_full_disk_costs_the_cache_only(tmp_path: Path) -> None:
    """What cannot be kept gets a warning, and leaves nothing half written."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="thing could not be cached"):
        keep(blocked / "thing", b"content")
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
