"""Tasks outside the repository: `rlfl COMMAND package.module:namespace/Name-v0` from a folder of the user's."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

import rlfl_envs
from rlfl_agents.cli import main
from rlfl_agents.environments import held_out_split

MODULE = '''
import rlfl_envs
from rlfl_envs.tasks.copy import Copy

class Echo(Copy):
    """Repeat the prompt, outside the repository."""

rlfl_envs.register_task("me/Echo-v0", "{module}:Echo", alphabet="ab", length=2, split="all")
'''
SMALL = ["--layers", "1", "--width", "16", "--heads", "2", "--device", "cpu", "--eval-prompts", "16", "--threads", "1"]
ID = "echo_task:me/Echo-v0"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with echo_task.py in it, which is the current one; what it registers and imports goes away again."""
    (tmp_path / "echo_task.py").write_text(MODULE.format(module="echo_task"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    forget()


def forget() -> None:
    """As a new process would begin."""
    sys.modules.pop("echo_task", None)
    gymnasium.registry.pop("me/Echo-v0", None)
    sys.path[:] = [folder for folder in sys.path if not (Path(folder) / "echo_task.py").exists()]


def test_every_command_reaches_a_file_in_the_current_folder(
    scratch: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show, play, imitate, train, resume, evaluate, and play with the model; folders are named without the module."""
    assert main(["show", ID, "--baseline-prompts", "5"]) == 0
    assert "Repeat the prompt, outside the repository." in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\n"))
    assert main(["play", ID]) == 0
    flags = ["--total-samples", "32", "--prompts", "4", "--minibatches", "2", *SMALL]
    assert main(["sft", ID, "--epochs", "1", "--examples", "8", "--quiet", *SMALL]) == 0
    assert main(["train", ID, "--model", "runs/Echo-v0-sft", *flags]) == 0
    assert f"rlfl eval runs/Echo-v0-seed0 {ID}" in capsys.readouterr().out
    assert main(["train", ID, "--resume", "--total-samples", "64"]) == 0
    assert main(["eval", "runs/Echo-v0-seed0", ID, "--prompts", "8"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\n"))
    assert main(["play", ID, "--model", "runs/Echo-v0-seed0"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["Echo-v0-seed0", "Echo-v0-sft"]


def test_no_folder_makes_a_module_be_imported(
    scratch: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run says about itself is checked: the module is named, and only the user's own words import it."""
    flags = ["--total-samples", "16", "--prompts", "2", "--minibatches", "1", *SMALL]
    assert main(["train", ID, "--run-dir", "run", "--quiet", *flags]) == 0
    forget()
    assert main(["eval", "run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"name the id too: rlfl eval run {ID}" in error
    assert main(["train", "rlfl/Copy-v0", "--run-dir", "run", "--resume"]) == 2
    assert f"was begun with {ID!r}" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["play", "rlfl/Copy-v0", "--model", "run", "--env-kwargs", "alphabet=ab", "length=2"]) == 0
    assert "echo_task" not in sys.modules
    assert main(["eval", "run", ID, "--prompts", "8"]) == 0
    assert "echo_task" in sys.modules


@pytest.mark.parametrize("file", ["config.json", "policy/rlfl.json"])
def test_no_folder_chooses_a_class(file: str, scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`task` among the arguments of an environment would be code of the folder's."""
    flags = ["--total-samples", "16", "--prompts", "2", "--group-size", "2", "--minibatches", "1", *SMALL]
    assert main(["train", "rlfl/Copy-v0", "--run-dir", "run", "--quiet", *flags]) == 0
    forget()
    for path in (Path("run") / file, Path("run/best/rlfl.json")):
        entries = json.loads(path.read_text())
        entries["env_kwargs"]["task"] = "echo_task:Echo"
        path.write_text(json.dumps(entries))
    for words in (["eval", "run"], ["train", "rlfl/Copy-v0", "--run-dir", "run", "--resume", "--total-samples", "32"]):
        main(words)
    assert "echo_task" not in sys.modules
    assert "'task'" in capsys.readouterr().err


def test_the_current_folder_comes_first_only_when_a_module_is_named(scratch: Path) -> None:
    """A file that is called like a library of ours is not imported by accident."""
    (scratch / "tyro.py").write_text("raise SystemExit('imported')")
    (scratch / "numpy.py").write_text("raise SystemExit('imported')")
    command = "import sys; sys.path.remove(''); from rlfl_agents.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", command, "list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_module_that_lacks_another_is_not_hidden(scratch: Path) -> None:
    """The user's own error is shown as Python shows it."""
    (scratch / "echo_task.py").write_text("import no_such_library")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        main(["show", ID])


def test_whoever_trains_on_everything_is_evaluated_on_everything() -> None:
    """By the words given, by the id's own arguments, and by the default of a task of one's own prompts."""
    assert held_out_split("rlfl/Copy-v0", {}) == "test"
    assert held_out_split("rlfl/Copy-v0", {"split": "all"}) == "all"
    rlfl_envs.register_task("test/Lengths-v0", lambda prompt, completion: len(completion) / 9, prompts=["a", "b"])
    try:
        assert held_out_split("test/Lengths-v0", {}) == "all"
        assert held_out_split("test/Lengths-v0", {"split": "train"}) == "test"
    finally:
        del gymnasium.registry["test/Lengths-v0"]
