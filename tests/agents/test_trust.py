"""Folders crafted to run code or to read what is not theirs: none does, and each is refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

from rlfl_agents.cli import main
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.trust import check_arguments, check_files
from rlfl_envs import ConfigError, arguments_that_load, load_task, task_class
from tests.settings import IDS

from .conftest import small_config

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from rlfl_envs.tasks.copy import Copy as Evil
def reward(prompt, completion): return 0.0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of our own; each test crafts a copy of it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train(small_config(total_samples=64, eval_every=0), run, quiet=True)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy, with a module of its own beside it that could be imported from here."""
    folder = tmp_path / "kw"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / "best")  # so that "policy" is what is evaluated
    (folder / "evil.py").write_text(EVIL)
    (folder / "policy" / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def rewrite(path: Path, **entries: Any) -> None:
    """Changes entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def says(env_id: str = "rlfl/Copy-v0", **env_kwargs: Any) -> Callable[[Path], None]:
    """A folder whose rlfl.json says so."""
    return lambda run: rewrite(run / "policy" / "rlfl.json", env_id=env_id, env_kwargs=env_kwargs)


def pickled(run: Path) -> None:
    """Weights as a pickle that runs code when it is read, as torch.load once did."""

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (run / "ran",))

    (run / "policy" / "model.safetensors").unlink()
    (run / "policy" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))


def remote_code(run: Path) -> None:
    """A model whose class lies beside it."""
    entries = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}}
    rewrite(run / "policy" / "config.json", **entries)


def linked_weights(run: Path) -> None:
    """Somebody else's weights."""
    path = run / "policy" / "model.safetensors"
    path.rename(run.parent / "elsewhere.safetensors")
    path.symlink_to(run.parent / "elsewhere.safetensors")


def piped(run: Path) -> None:
    """Settings that nobody ever writes."""
    for path in [*run.rglob("rlfl.json")]:
        path.unlink()
        os.mkfifo(path)


def linked_to_itself(run: Path) -> None:
    """Settings that are a link to themselves."""
    for path in [*run.rglob("rlfl.json")]:
        path.unlink()
        path.symlink_to(path.name)


def weights_elsewhere(run: Path) -> None:
    """A list of weights that climbs out of the folder."""
    path = run / "policy" / "model.safetensors"
    path.rename(run.parent / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": "../../elsewhere.safetensors"}}
    (run / "policy" / "model.safetensors.index.json").write_text(json.dumps(index))


def huge_token_ids(run: Path) -> None:
    """A vocabulary of a few tokens, one of them with an id for which every mask would need a gigabyte."""
    path = run / "policy" / "tokenizer.json"
    entries = json.loads(path.read_text())
    entries["added_tokens"].append(entries["added_tokens"][0] | {"id": 10**8, "content": "<huge>"})
    entries["model"]["vocab"]["<huge>"] = 10**8
    path.write_text(json.dumps(entries))
    rewrite(run / "policy" / "rlfl.json", env_kwargs={"alphabet": "xyz", "length": 2, "vocabulary": "kw/policy"})


def tokenizer_code(run: Path) -> None:
    """A tokenizer whose class lies beside it, where nothing else can be read."""
    (run / "policy" / "tokenizer.json").unlink()
    entries = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    rewrite(run / "policy" / "tokenizer_config.json", **entries)
    rewrite(run / "policy" / "rlfl.json", env_kwargs={"vocabulary": "kw/policy"})


def adapted_beside(run: Path) -> None:
    """Beside its weights a LoRA, whose settings have a module imported."""
    peft = {"peft_type": "LORA", "r": 2, "target_modules": ["c_attn"]}
    (run / "policy" / "adapter_config.json").write_text(
        json.dumps(peft | {"megatron_config": {"x": 1}, "megatron_core": "kw.evil"})
    )


def adapted(run: Path) -> None:
    """A LoRA of a model of the hub."""
    (run / "policy" / "model.safetensors").unlink()
    peft = {"peft_type": "LORA", "base_model_name_or_path": "someone/else"}
    (run / "policy" / "adapter_config.json").write_text(json.dumps(peft))


def attention_of_the_hub(run: Path) -> None:
    """A config.json that has a kernel downloaded."""
    rewrite(run / "policy" / "config.json", attn_implementation="someone/kernel")


CRAFTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "task": (says(task="kw.evil:Evil"), "env_kwargs={'task': ...} is not allowed"),
    "id with a module": (says("kw.evil:me/Evil-v0"), "no folder makes the module 'kw.evil' be imported"),
    "id with a module in a mixture": (says("rlfl/Mixture-v0", tasks=["kw.evil:me/Evil-v0"]), "asks for tasks="),
    "task in a mixture": (
        says("rlfl/Mixture-v0", tasks=[{"id": "rlfl/Copy-v0", "task": "kw.evil:Evil"}]),
        "asks for tasks=",
    ),
    "jar": (says("rlfl/LudiiGame-v0", jar="kw/evil.jar"), "asks for jar='kw/evil.jar'"),
    "cache": (says("rlfl/LudaxGame-v0", cache="/etc/cron.d"), "asks for cache='/etc/cron.d'"),
    "corpus": (says("rlfl/Sentiment-v0", corpus="/etc/passwd"), "asks for corpus='/etc/passwd'"),
    "classifier": (says("rlfl/Sentiment-v0", classifier="kw"), "asks for classifier='kw'"),
    "no argument of the task": (says(grade="kw.evil:grade"), "'grade' is no argument of rlfl/Copy-v0"),
    "pickle": (pickled, "no file named model.safetensors"),
    "remote code": (remote_code, "holds no causal language model that can be read"),
    "symlink": (linked_weights, "is a link out of its folder"),
    "a pipe": (piped, "is no file: whoever reads it may wait for ever"),
    "links in a circle": (linked_to_itself, "kw"),
    "path traversal": (weights_elsewhere, "names weights outside its folder"),
    "an adapter": (adapted, "is an adapter of another model"),
    "an adapter beside weights": (adapted_beside, "is an adapter of another model"),
    "attention of the hub": (attention_of_the_hub, "says attn_implementation='someone/kernel'"),
    "huge vocabulary ids": (huge_token_ids, "has 6 tokens and the id 100000000"),
    "tokenizer code": (tokenizer_code, "asks for vocabulary='kw/policy'"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_model_runs_nothing(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rlfl eval` says in one line what is wrong with it."""
    craft, message = CRAFTED[name]
    craft(run)
    status = main(["eval", "kw", "--prompts", "4", "--device", "cpu"])
    error = capsys.readouterr().err
    assert not list(run.parent.rglob("ran"))
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "an id with a module": ({"env_id": "kw.evil:me/Evil-v0"}, "was begun with 'kw.evil:me/Evil-v0'"),
    "task": ({"env_kwargs": {"task": "kw.evil:Evil"}}, "'task'"),
    "vocabulary": ({"env_kwargs": {"vocabulary": "kw/policy"}}, "asks for vocabulary='kw/policy'"),
    "a model of the hub": ({"model": "someone/else"}, "asks for model='someone/else'"),
    "trackers": ({"report_to": ["wandb"]}, "asks for report_to=('wandb',)"),
    "a setting that there is not": ({"trust_remote_code": True}, "'trust_remote_code' is no setting"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_crafted_run_is_not_resumed(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What its config.json says takes the same way."""
    entries, message = SETTINGS[name]
    rewrite(run / "config.json", **entries)
    assert main(["train", "rlfl/Copy-v0", "--resume", "--run-dir", "kw", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(run.parent.rglob("ran"))


def test_a_crafted_checkpoint_runs_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle instead of tensors is damaged, whatever its checksum says."""

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (run / "ran",))

    for state in run.glob("checkpoints/*/state.pt"):
        state.write_bytes(pickle.dumps(Evil()))
        state.with_name("SHA256SUMS").unlink()
    assert main(["train", "rlfl/Copy-v0", "--resume", "--run-dir", "kw", "--quiet", "--total-samples", "128"]) == 2
    assert "no checkpoint that can be read" in capsys.readouterr().err
    assert not list(run.parent.rglob("ran"))


@pytest.mark.parametrize("name", ["update", "minutes", "best", "kl_coef", "entropy_coef", "batch_entropy_coef"])
def test_numbers_of_a_checkpoint_are_numbers(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the settings use of them: a text in their place is found when it is read, not hours later."""
    for checkpoint in run.glob("checkpoints/*"):
        state = torch.load(checkpoint / "state.pt", weights_only=True)
        torch.save(state | {name: "much"}, checkpoint / "state.pt")
        (checkpoint / "SHA256SUMS").unlink()
    assert main(["train", "rlfl/Copy-v0", "--resume", "--run-dir", "kw", "--quiet", "--total-samples", "128"]) == 2
    assert "is no checkpoint of this version (ValueError" in capsys.readouterr().err


def test_a_trusted_folder_may_say_more(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the user's flag, or where the user names the same."""
    linked_weights(run)
    assert main(["eval", "kw", "--prompts", "4", "--trust-folder"]) == 0
    rewrite(run / "config.json", env_kwargs={"alphabet": "ab", "length": 2, "split": "all", "vocabulary": "kw/policy"})
    words = ["train", "rlfl/Copy-v0", "--resume", "--run-dir", "kw", "--quiet"]
    assert main([*words, "--trust-folder"]) == 0
    assert main(words) == 2
    (run / "policy" / "model.safetensors").unlink()  # a link
    assert main(words) == 2
    assert "asks for vocabulary='kw/policy'" in capsys.readouterr().err.splitlines()[-1]
    assert main([*words, "--env-kwargs", "vocabulary=kw/policy"]) == 0


def test_a_model_of_ours_brings_its_vocabulary(bpe_folder: Path, tmp_path: Path) -> None:
    """Wherever the folder has been moved to, and without the one that it was trained with."""
    vocabulary = tmp_path / "bpe"
    shutil.copytree(bpe_folder, vocabulary)
    env_kwargs = {"alphabet": "ab", "length": 2, "split": "all", "vocabulary": str(vocabulary)}
    train(small_config(total_samples=32, env_kwargs=env_kwargs), tmp_path / "run", quiet=True)
    before = load_policy(tmp_path / "run", None, {}).envs.tokenizer
    shutil.rmtree(vocabulary)
    (tmp_path / "run").rename(tmp_path / "moved")
    after = load_policy(tmp_path / "moved", None, {}).envs.tokenizer
    assert after.backend.get_vocab() == before.backend.get_vocab()
    assert after.special_ids == before.special_ids


def test_links_within_a_folder_and_the_hubs_own_are_allowed(tmp_path: Path) -> None:
    """The hub's cache is links from snapshots into blobs."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1", tmp_path / "models--a--b" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "x").write_text("weights")
    (snapshot / "model.safetensors").symlink_to(Path("..") / ".." / "blobs" / "x")
    (snapshot / "copy").symlink_to("model.safetensors")
    check_files(snapshot)
    (snapshot / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"passwords' is a link out of its folder\. .* --trust-folder\.$"):
        check_files(snapshot)


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_says_what_its_arguments_load(env_id: str) -> None:
    """A vocabulary of its own loads nothing, any other does; its own defaults load nothing."""
    config = task_class(_task_of(env_id)).Config
    assert arguments_that_load(env_id, {"vocabulary": "some/where"}) == ["vocabulary"]
    assert arguments_that_load(env_id, {"rewards": "tokens", "text_infos": False}) == []  # of environments
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    assert config.files.keys() <= defaults.keys()
    assert arguments_that_load(env_id, defaults) == []
    if env_id != "rlfl/LudaxGame-v0":
        assert set(load_task(env_id).vocabularies()) <= {"characters", config.vocabulary, *config.files["vocabulary"]}


def test_mixtures_are_looked_into() -> None:
    """Parts without such arguments are harmless."""
    assert arguments_that_load("rlfl/Mixture-v0", {"tasks": [{"id": "rlfl/Copy-v0", "length": 2}]}) == []
    for part in ("nowhere", 3, {"id": "rlfl/Sentiment-v0", "corpus": "x"}, {"length": 2}):
        assert arguments_that_load("rlfl/Mixture-v0", {"tasks": [part]}) == ["tasks"]
    with pytest.raises(ConfigError, match="which a part cannot have"):
        load_task("rlfl/Mixture-v0", tasks=[{"id": "rlfl/Copy-v0", "task": "kw.evil:Evil"}])


def test_arguments_that_are_none_are_refused() -> None:
    """By the file's name."""
    for env_kwargs in (["x"], {"nothing": 1}, {"num_envs": 10**9}):
        with pytest.raises(ConfigError, match=r"^'rlfl\.json' "):
            check_arguments("rlfl/Copy-v0", env_kwargs, Path("rlfl.json"))


def _task_of(env_id: str) -> str:
    task: str = gymnasium.spec(env_id).kwargs["task"]
    return task
