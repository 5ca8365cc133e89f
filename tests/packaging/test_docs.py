"""The documentation's code runs."""

import re
from pathlib import Path

import pytest

from rlfl_agents.metrics import columns

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's Python blocks run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    names: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        code = compile("\n" * line + block[1], str(page), "exec")
        exec(code, names)  # noqa: S102 - our own pages


def test_every_metric_is_explained() -> None:
    """The agent's page names every column of metrics.csv."""
    page = (ROOT / "docs/agent.md").read_text(encoding="utf-8")
    assert [name for name in columns(()) if f"`{name}`" not in page] == []
