"""The documentation's code runs."""

import importlib.util
import re
import warnings
from pathlib import Path

import gymnasium
import pytest

from rlfl_agents.run.metrics import columns

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A block below `<!-- needs: trl -->` takes an optional library; it is run by itself, where that is installed.
NEEDY = re.compile(r"^<!-- needs: (\w+) -->\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = [(page, block) for page in PAGES for block in NEEDY.finditer(page.read_text(encoding="utf-8"))]


def without_needy(page: Path) -> str:
    """A page's text with the blocks that take an optional library blanked out, line for line."""
    return NEEDY.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))


def run(page: Path, line: int, code: str, names: dict[str, object]) -> None:
    """Runs a block; a traceback names the page and the line."""
    exec(compile("\n" * line + code, str(page), "exec"), names)  # noqa: S102 - our own pages


@pytest.mark.parametrize(
    "page", [page for page in PAGES if BLOCK.search(without_needy(page))], ids=lambda page: page.name
)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's Python blocks run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    text = without_needy(page)
    names: dict[str, object] = {"__name__": "__main__"}
    known = set(gymnasium.registry)
    for block in BLOCK.finditer(text):
        run(page, text.count("\n", 0, block.start(1)), block[1], names)
    for id in set(gymnasium.registry) - known:  # two pages may register the same
        del gymnasium.registry[id]


@pytest.mark.parametrize(("page", "block"), NEEDS, ids=[f"{page.name}-{block[1]}" for page, block in NEEDS])
def test_snippets_with_a_library_run(
    page: Path, block: re.Match[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does each block that takes an optional library, where it is installed."""
    if importlib.util.find_spec(block[1]) is None:
        pytest.skip(f"{block[1]} is not installed")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # libraries warn of each other
        run(page, block.string.count("\n", 0, block.start(2)), block[2], {"__name__": "__main__"})


def test_every_metric_is_explained() -> None:
    """The agent's page names every column of metrics.csv."""
    page = (ROOT / "docs/agent.md").read_text(encoding="utf-8")
    assert [name for name in columns(()) if f"`{name}`" not in page] == []
