"""Damaged files: the last good one is taken and said, or a sentence says what to do; no traceback, no silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlfl_agents.cli import main
from rlfl_agents.ppo import train
from rlfl_agents.run.checkpoint import latest, load, restore, save
from rlfl_agents.run.metrics import read_metrics
from rlfl_envs import ConfigError, load_task
from rlfl_envs.cache import is_whole, keep
from tests.old_runs import FOLDER as OLD_RUNS

from .conftest import small_config

CONFIG = small_config(total_samples=32 * 6, save_every=2, eval_every=3, keep_last=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to: six updates, checkpoints at four and six."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(CONFIG, run, quiet=True)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to be damaged."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "run")
    return Path("run")


# --- ways to damage a file -----------------------------------------------------------------------------------------


def emptied(path: Path) -> None:
    """As after a power cut."""
    path.write_bytes(b"")


def cut(path: Path) -> None:
    """Half of it is there."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """One bit of the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def noise(path: Path) -> None:
    """Something else altogether."""
    path.write_bytes(np.random.default_rng(0).bytes(4096))


def zeros(path: Path) -> None:
    """What a file system may leave: its length, and nothing in it."""
    path.write_bytes(bytes(path.stat().st_size))


def gone(path: Path) -> None:
    """It is not there."""
    path.unlink()


def a_folder(path: Path) -> None:
    """Something else has its name."""
    path.unlink()
    path.mkdir()


def text(content: str) -> Callable[[Path], None]:
    """It says something else."""

    def write(path: Path) -> None:
        path.write_text(content)

    write.__name__ = content[:20]
    return write


ALL = (emptied, cut, flipped, noise, zeros, gone, a_folder)


def named(pairs: list[tuple[Any, ...]]) -> list[Any]:
    """Names a test by its damage."""
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}") for pair in pairs]


def without_clock(run: Path) -> dict[str, str]:
    """Metrics as text, bit by bit (NaN equals NaN)."""
    return {name: repr(column) for name, column in read_metrics(run).items() if not name.startswith("clock/")}


# --- what a run goes on from ---------------------------------------------------------------------------------------

NEWEST = "checkpoints/update-000006"
RESUMED = [
    *((f"{NEWEST}/state.pt", damage) for damage in ALL),
    *((f"{NEWEST}/SHA256SUMS", damage) for damage in (emptied, cut, flipped, noise, zeros, a_folder)),
    *((name, damage) for name in ("metrics.csv", "samples.jsonl") for damage in (emptied, cut, noise, zeros, gone)),
    ("metrics.csv", text("{}\n[]\n")),
    ("samples.jsonl", text("{}\n[]\n")),
    ("metrics.csv", text("update,update\n1,1\n")),
    ("samples.jsonl", text('{"update": "x"}\n' + "[" * 100_000 + "\n")),
]


@pytest.mark.parametrize(("name", "damage"), named(RESUMED))
def test_a_damaged_run_goes_on_from_the_last_good_checkpoint(
    name: str, damage: Callable[[Path], None], run: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was damaged and what is taken instead is said; the run ends as one that nothing happened to."""
    damage(run / name)
    assert main(["train", CONFIG.env_id, "--resume", "--run-dir", "run", "--total-samples", str(32 * 6)]) == 0
    said = capsys.readouterr()
    assert name.split("/")[-2 if "/" in name else -1] in said.out
    assert "damaged" in said.out
    assert said.err == ""
    ends = [load(latest(each) or each) for each in (whole, run)]
    for weight, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][weight])
    if name.startswith("checkpoints"):
        assert without_clock(run) == without_clock(whole)
        assert (run / "samples.jsonl").read_text() == (whole / "samples.jsonl").read_text()
        assert (run / "checkpoints" / "damaged-update-000006").is_dir()


def test_what_can_be_read_of_the_metrics_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bad row costs that row, and the damaged file stays beside the new one."""
    path = run / "metrics.csv"
    lines = path.read_text().splitlines()
    lines[3] = "2,what"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"metrics\.csv' is damaged; going on with the run .* keeps what can be read"):
        read_metrics(run)
    assert main(["plot", "run"]) == 2
    assert main(["train", CONFIG.env_id, "--resume", "--run-dir", "run"]) == 0
    assert "metrics.csv was damaged: it now lacks 1 of 7 rows" in capsys.readouterr().out
    assert [int(update) for update in read_metrics(run)["update"]] == [0, 1, 3, 4, 5, 6]
    assert (run / "damaged-metrics.csv").read_text().splitlines()[3] == "2,what"


REFUSED = [
    *(("config.json", damage) for damage in (emptied, cut, noise, zeros, gone, a_folder, text("[]"), text("{}"))),
    ("config.json", text('{"version": 1, "layers": "two"}')),
    ("config.json", text("[" * 100_000)),
]


@pytest.mark.parametrize(("name", "damage"), named(REFUSED))
def test_a_run_that_does_not_say_what_it_is_is_refused(
    name: str, damage: Callable[[Path], None], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence; nothing of it is changed."""
    damage(run / name)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", CONFIG.env_id, "--resume", "--run-dir", "run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_all_checkpoints_damaged(run: Path) -> None:
    """It does not begin again in silence; it says where a policy may be left."""
    for state in run.glob("checkpoints/*/state.pt"):
        flipped(state)
    with pytest.raises(
        ConfigError, match=r"no checkpoint that can be read.*checksum is another.*may still be in run/pol"
    ):
        train(CONFIG, run, resume=True, quiet=True)


def test_checkpoints_that_were_deleted(run: Path) -> None:
    """To resume does not begin anew over what the run has written."""
    shutil.rmtree(run / "checkpoints")
    before = (run / "metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"has no checkpoints any more.*may still be in run/policy"):
        train(CONFIG, run, resume=True, quiet=True)
    assert (run / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("missing", ["model", "optimizer", "seen", "random", "envs", "generator", "best"])
def test_a_checkpoint_that_lacks_something(missing: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is whole, but not of this version: the older one is taken."""
    state = load(run / NEWEST)
    del state[missing]
    shutil.rmtree(run / NEWEST)
    save(run, state, keep=2)
    train(CONFIG, run, resume=True)
    assert "update-000006 is no checkpoint of this version" in capsys.readouterr().out


def test_a_run_of_version_0_1_is_taken_at_its_word(tmp_path: Path) -> None:
    """It has no checksums, which is said."""
    shutil.copytree(OLD_RUNS / "gae", tmp_path / "run")
    taken: list[dict[str, Any]] = []
    said = restore(tmp_path / "run", taken.append)
    assert [state["update"] for state in taken] == [4]
    assert "update-000004 has no checksum, as version 0.1 wrote them" in said[0]
    assert said[1].startswith("The run goes on from")


# --- models --------------------------------------------------------------------------------------------------------

MODELS = [
    *(("model.safetensors", damage) for damage in ALL),
    *(("config.json", damage) for damage in (cut, noise, zeros, text("[]"), text("{}"), text('{"model_type": "x"}'))),
    *(("rlfl.json", damage) for damage in (emptied, cut, noise, zeros, text("[]"), text('{"env_id": 3}'))),
    ("rlfl.json", text('{"env_id": "rlfl/Copy-v0", "env_kwargs": []}')),
    ("../seen_keys.npy", emptied),
    ("../seen_keys.npy", cut),
    ("../seen_keys.npy", noise),
    ("../seen_keys.npy", zeros),
]


@pytest.mark.parametrize(("name", "damage"), named(MODELS))
def test_a_damaged_model_is_refused_in_a_sentence(
    name: str, damage: Callable[[Path], None], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That names the file or the folder."""
    damage(run / "best" / name)
    assert main(["eval", "run", "--prompts", "4", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert Path(name).name in error or "run/best" in error


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_layer": 10**9}, "says n_layer=1000000000; allowed: at most 1024"),
        ({"decoder_layers": 10**6, "num_blocks": 3}, "says decoder_layers=1000000; allowed: at most 1024"),
        ({"n_embd": 10**12}, "says n_embd=1000000000000; allowed: at most 134217728"),
        ({"text_config": {"vocab_size": 2**40}}, "says vocab_size=1099511627776"),
        ({"n_embd": 2**14, "n_inner": 2**16}, "asks for a model of 3,"),
        ({"vocab_size": 10**8}, "asks for a model of 1,60"),
        ({"n_positions": 10**8}, "asks for a model of 1,60"),
    ],
    ids=str,
)
def test_a_config_that_asks_for_an_absurd_model(
    changes: dict[str, Any], says: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused before any memory is taken for it."""
    path = run / "best" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert main(["eval", "run", "--prompts", "4", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_that_cannot_be(temperature: float, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a model says of itself is checked before it is used."""
    path = run / "best" / "rlfl.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": temperature}))
    assert main(["eval", "run", "--prompts", "4", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert f"temperature={temperature} is not allowed; allowed: 1e-6 or more" in error
    assert error.count("\n") == 1


def test_a_start_that_cannot_be(run: Path) -> None:
    """A run that says that it began from a number has nothing to be compared with."""
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": 5}))
    with pytest.warns(UserWarning, match="nothing to measure ref_kl against: model=5 is not allowed; allowed: str"):
        assert main(["eval", "run", "--prompts", "4", "--device", "cpu"]) == 0


def test_weights_that_are_not_there_are_not_made_up(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Transformers would draw them at random, with a warning at most."""
    from safetensors.torch import load_file, save_file

    path = run / "best" / "model.safetensors"
    weights = load_file(path)
    weights.pop("transformer.h.0.mlp.c_fc.weight")
    save_file(weights, path, metadata={"format": "pt"})
    assert main(["eval", "run", "--prompts", "4", "--device", "cpu"]) == 2
    assert "lacks weights, such as transformer.h.0.mlp.c_fc.weight" in capsys.readouterr().err


# --- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [emptied, cut, flipped, noise, zeros, gone])
def test_a_damaged_vocabulary_is_made_anew(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache entry that is not what was kept is none."""
    pytest.importorskip("nltk", reason="rlfl/Sentiment-v0 needs nltk")
    monkeypatch.setenv("RLFL_CACHE", str(tmp_path / "cache"))
    arguments = {"corpus": "template", "vocabulary_size": 300}
    expected = load_task("rlfl/Sentiment-v0", **arguments).tokenizer.backend.to_str()
    (path,) = (tmp_path / "cache").rglob("tokenizer.json")
    content = path.read_bytes()
    damage(path)
    assert not is_whole(path)
    assert load_task("rlfl/Sentiment-v0", **arguments).tokenizer.backend.to_str() == expected
    assert path.read_bytes() == content
    assert is_whole(path)


def test_what_was_cached_without_a_checksum_counts(tmp_path: Path) -> None:
    """As version 0.1 did; an empty file never does."""
    keep(tmp_path / "a", b"content")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.sha256"}
    (tmp_path / "a.sha256").unlink()
    assert is_whole(tmp_path / "a")
    emptied(tmp_path / "a")
    assert not is_whole(tmp_path / "a")
    assert not is_whole(tmp_path / "nothing")
