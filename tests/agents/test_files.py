"""One writer for all that the agent leaves: whatever step of it fails, what was there stays whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlfl_agents.files import remove_half_written, write_bytes, write_folder, write_text


def write_a_file(folder: Path) -> None:
    """New content for `a`."""
    write_text(folder / "a", "new")


def write_a_whole_folder(folder: Path) -> None:
    """A folder that was not there."""
    with write_folder(folder / "sub") as temporary:
        write_text(temporary / "x", "new")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("write", "step"),
    [
        (write_a_file, "pathlib.Path.open"),
        (write_a_file, "os.fsync"),
        (write_a_file, "pathlib.Path.replace"),
        (write_a_whole_folder, "os.fsync"),
        (write_a_whole_folder, "pathlib.Path.rename"),
    ],
)
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], step: str, error: BaseException
) -> None:
    """At each step of the writing, for a full disk as for Ctrl-C; nothing half written stays."""
    (tmp_path / "a").write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(type(error)):
            write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_that_is_there_gets_its_files_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named one last; what is not written again stays."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "other").write_text("stays")
    order = []
    replace = Path.replace

    def noting(source: Path, target: Path) -> Path:
        order.append(str(target.relative_to(folder)))
        return replace(source, target)

    with write_folder(folder, last="config.json") as temporary:
        for name in ("config.json", "a", "z"):
            (temporary / name).write_text(name)
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text("b")
        monkeypatch.setattr(Path, "replace", noting)
    assert order == ["a", "sub/b", "z", "config.json"]
    assert (folder / "other").read_text() == "stays"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_error_of_the_block_is_its_own(tmp_path: Path) -> None:
    """Only what a full disk looks like is called one."""
    with pytest.raises(ZeroDivisionError), write_folder(tmp_path / "folder"):
        raise ZeroDivisionError
    with (
        pytest.raises(OSError, match="folder could not be written; is the disk full"),
        write_folder(tmp_path / "folder"),
    ):
        raise RuntimeError("unexpected pos 572160 vs 572052")
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    """Files and folders under a temporary name, and nothing else."""
    write_bytes(tmp_path / "kept", b"\0\n")
    (tmp_path / ".writing-a-1").write_text("half")
    (tmp_path / ".writing-b-2").mkdir()
    (tmp_path / ".writing-b-2" / "x").write_text("half")
    remove_half_written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"\0\n"
