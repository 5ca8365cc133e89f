"""The version stands in one place, and what repeats it agrees."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import rlfl_envs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def release(example: Callable[[str], ModuleType]) -> ModuleType:
    """The script that prepares a release."""
    return example("../docs/_scripts/release.py")


@pytest.fixture
def copy(release: ModuleType, tmp_path: Path) -> Path:
    """A copy of the places that name the version, before a release."""
    for path in release.PLACES:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(re.sub(r"(?m)^(## \[).*", r"\g<1>9.8.7] - unreleased", changelog.read_text(), count=1))
    return tmp_path


def test_every_place_names_the_same_version(release: ModuleType) -> None:
    """The package, the citation and the changelog's newest section; pyproject.toml reads the package's."""
    assert set(release.versions().values()) == {rlfl_envs.__version__}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] in release.PLACES


def test_hooks_have_the_versions_of_ci() -> None:
    """A commit is checked by the ruff that CI uses."""
    pinned = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert pinned is not None
    assert f"ruff-pre-commit\n    rev: v{pinned[1]}\n" in hooks


def test_a_release(release: ModuleType, copy: Path) -> None:
    """All places get the version, the newest section its date, and nothing else is changed."""
    before = (copy / "CHANGELOG.md").read_text()
    assert any("without a date" in words for words in release.complaints("9.8.7", copy))
    release.write("9.8.7", "2030-01-02", copy)
    assert set(release.versions(copy).values()) == {"9.8.7"}
    assert release.complaints("9.8.7", copy) == []
    assert len(release.complaints("9.8.8", copy)) == len(release.PLACES)
    after = (copy / "CHANGELOG.md").read_text()
    assert after == before.replace("## [9.8.7] - unreleased", "## [9.8.7] - 2030-01-02")


def test_what_cannot_be_released(release: ModuleType, copy: Path) -> None:
    """What is no version, and a changelog in which nothing is unreleased."""
    with pytest.raises(ValueError, match=r"version='v1\.0' is not allowed; allowed: three numbers"):
        release.write("v1.0", "2030-01-02", copy)
    release.write("9.8.7", "2030-01-02", copy)
    with pytest.raises(ValueError, match="no section that is unreleased"):
        release.write("9.8.8", "2030-01-03", copy)
