"""Settings for every test, and fixtures that several folders share."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from rlfl_envs.tasks.games.task import GameSynthesis
from tests.settings import EXAMPLES, MadeUpPool

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads a model
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["RLFL_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "rlfl")  # not the developer's own

# On a busy machine the first call of anything is slow, and a deadline would fail at random. CI always tries the same
# examples.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """While a test has a clock, the garbage collector does not look through what other tests left."""
    if request.node.get_closest_marker("timing"):
        gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of `examples/` by its path there, without running its main part."""

    def load(path: str) -> ModuleType:
        name = Path(path).stem
        monkeypatch.syspath_prepend(str((EXAMPLES / path).parent))  # it may import its neighbours
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # a dataclass looks itself up there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def made_up_pool() -> Iterator[None]:
    """Games are judged so, but in tests that ask for REAL_POOL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GameSynthesis, "_pool", property(lambda task: MadeUpPool(task.backend)))
        yield


# --- vocabularies --------------------------------------------------------------------------------------------------


def _train_bpe(specials: list[str]) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    rng = np.random.default_rng(0)
    sums = ["+".join(map(str, rng.integers(0, 11, size=4))) + "=" for _ in range(300)]
    words = ["".join(rng.choice([*"abcdefgh"], size=4)) for _ in range(300)]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([*sums, *words, "the quick brown fox, 1 + 2 = 3"], trainer)
    return backend


@pytest.fixture(scope="session")
def bpe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE with specials of its own, named in a tokenizer_config.json."""
    folder = tmp_path_factory.mktemp("bpe")
    _train_bpe(["[FILL]", "[GO]", "[END]"]).save(str(folder / "tokenizer.json"))
    config = {"pad_token": "[FILL]", "bos_token": {"content": "[GO]"}, "eos_token": "[END]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of a model that chats, with special tokens and a template like those of SmolLM2 and Qwen."""
    folder = tmp_path_factory.mktemp("chat")
    _train_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]).save(str(folder / "tokenizer.json"))
    config = {"pad_token": "<|endoftext|>", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    entries = config | {"chat_template": CHAT_TEMPLATE, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="session")
def gpt2_like_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE whose only special token is <|endoftext|>, as in GPT-2, without a tokenizer_config.json."""
    folder = tmp_path_factory.mktemp("gpt2")
    _train_bpe(["<|endoftext|>"]).save(str(folder / "tokenizer.json"))
    return folder


def _train_spaced(backend: Backend) -> None:
    specials, alphabet = ["<unk>", "<s>", "</s>"], list(map(chr, range(33, 127)))
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["12+3=15", "a b ab ba", "1 + 2 = 3"], trainer)


@pytest.fixture(scope="session")
def spaced_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BPE that begins each text with a space of its own, as Llama 2's does; it pads and truncates as well."""
    folder = tmp_path_factory.mktemp("spaced")
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    _train_spaced(backend)
    backend.enable_padding(length=16, pad_id=0, pad_token="<unk>")
    backend.enable_truncation(8)
    backend.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def metaspace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as newer models write it down."""
    folder = tmp_path_factory.mktemp("metaspace")
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    _train_spaced(backend)
    backend.save(str(folder / "tokenizer.json"))
    return folder
