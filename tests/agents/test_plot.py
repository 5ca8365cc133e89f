"""The picture of a run: which panels it has, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlfl_agents.run.metrics import columns
from rlfl_agents.run.plot import plot_runs


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would have been written."""
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    return kept


def written(folder: Path, **values: list[str]) -> Path:
    """A run with these columns, by their names with "_" for "/" and " "; every other one is 0."""
    names = columns(["error"], ["level/0", "kind/4 operands"], 12)
    rows = len(next(iter(values.values())))
    found: dict[str, Any] = {name.replace("/", "_").replace(" ", "_"): ["0"] * rows for name in names}
    found |= {"update": [*map(str, range(rows))], "samples": [*map(str, range(rows))]} | values
    folder.mkdir()
    lines = [",".join(names), *(",".join(row) for row in zip(*found.values(), strict=True))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def panels(figure: Figure) -> dict[str, Axes]:
    """Those that are shown, by title."""
    return {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}


def test_a_run_alone_shows_levels_kinds_and_information(drawn: list[Figure], tmp_path: Path) -> None:
    """A line for each, where it has values and nowhere else; columns without any take up no colour."""
    unreached = {f"information_{position}": [""] * 3 for position in range(3, 13)}
    run = written(tmp_path / "run", level_0=["", "0.25", "0.5"], kind_4_operands=["", "", "0.75"], **unreached)
    plot_runs([run], tmp_path / "curves.png")
    shown = panels(drawn[0])
    assert len(shown) == 6
    lines = shown["Success by level and kind, training"].get_lines()
    assert [(line.get_label(), line.get_xydata().tolist()) for line in lines] == [
        ("level 0", [[1.0, 0.25], [2.0, 0.5]]),
        ("4 operands", [[2.0, 0.75]]),
    ]
    informed = shown["Information by position (nats)"].get_lines()
    assert [(line.get_label(), line.get_color()) for line in informed] == [("1", "C0"), ("2", "C1")]


def test_a_panel_without_values_is_left_out(drawn: list[Figure], tmp_path: Path) -> None:
    """Where a run tells neither levels nor kinds."""
    plot_runs([written(tmp_path / "run", level_0=[""], kind_4_operands=[""])], tmp_path / "curves.png")
    assert "Success by level and kind, training" not in panels(drawn[0])


def test_names_are_no_formulas(tmp_path: Path) -> None:
    """A folder may be called anything, and a table of another program lack what we draw."""
    run = written(tmp_path / "a$x_{$b", reward=["0.1", "0.2"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.csv").write_text("update,samples\n0,1\n")
    plot_runs([run, tmp_path / "other"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_several_runs_are_laid_over_each_other(drawn: list[Figure], tmp_path: Path) -> None:
    """With a colour each, in the four panels that they have in common."""
    runs = [written(tmp_path / name, reward=["0.1", "0.2"]) for name in "ab"]
    plot_runs(runs, tmp_path / "curves.png", ["one", "two"])
    shown = panels(drawn[0])
    assert len(shown) == 4
    lines = shown["Reward"].get_lines()
    assert [line.get_label() for line in lines] == [
        *("one, training", "one, held-out, greedy", "two, training", "two, held-out, greedy")
    ]
    assert len({line.get_color() for line in lines}) == 2
