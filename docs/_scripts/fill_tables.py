"""Puts the tables of results into README.md and the docs, each between its marks: `<!-- NAME -->` and `<!-- end -->`.

A table is made by the script that wrote its results, from the lines in examples/*/results/. With `--check` (CI) it
writes nothing, and fails where a page is not what would be written, or where a line is no valid result.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
sys.path[:0] = [str(EXAMPLES / "benchmarks"), str(EXAMPLES / "research")]

import arithmetic  # noqa: E402 - found by the line above
import bench_algorithms  # noqa: E402
import bench_attack  # noqa: E402
import bench_audit  # noqa: E402
import bench_constants  # noqa: E402
import bench_continuous  # noqa: E402
import bench_games  # noqa: E402
import bench_gpu  # noqa: E402
import bench_hostile  # noqa: E402
import bench_ids  # noqa: E402
import bench_judges  # noqa: E402
import bench_languages  # noqa: E402
import bench_needs  # noqa: E402
import bench_prompts  # noqa: E402
import bench_reasoning_gym  # noqa: E402
import bench_smollm2  # noqa: E402
import countdown  # noqa: E402
from rlfl_agents.run.results import read_results  # noqa: E402
from rlfl_envs import ConfigError  # noqa: E402

KINDS = (
    "research",
    "algorithms",
    "audit",
    "games",
    "gpu",
    "smollm2",
    "datasets",
    "ids",
    "languages",
    "prompts",
    "constants",
    "judges",
    "memory",
    "continuous",
)
MARKS = re.compile(rf"(?<=<!-- )((?:{'|'.join(KINDS)}): .*?) -->\n(.*?)(?=<!-- end -->)", re.DOTALL)
# What names a line in its file: no two lines have the same.
KEY = ("experiment", "variant", "algorithm", "id", "game", "seed")


def pages() -> list[Path]:
    """The pages that may show tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def tables() -> dict[str, str]:
    """Every table by its marks."""
    scripts = (
        arithmetic,
        bench_algorithms,
        bench_attack,
        bench_audit,
        bench_constants,
        bench_continuous,
        bench_games,
        bench_gpu,
        bench_hostile,
        bench_ids,
        bench_judges,
        bench_languages,
        bench_needs,
        bench_prompts,
        bench_reasoning_gym,
        bench_smollm2,
        countdown,
    )
    return {name: table for script in scripts for name, table in script.tables().items()}


def fill_in(page: str, tables: Mapping[str, str]) -> str:
    """Puts tables into the text of a page.

    Raises:
        KeyError: The page has marks for a table that there is not.
    """
    return MARKS.sub(lambda marks: f"{marks[1]} -->\n\n{tables[marks[1]]}\n\n", page)


def complaints(path: Path, defaults: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What is wrong with a file of results.

    Args:
        path: The file.
        defaults: What a setting is that a line does not name, by the schema of the line: `PPOConfig` for `settings`,
            `SFTConfig` for those of the `warm_start`.
    """
    try:
        results = read_results(path)
    except ConfigError as error:
        return [str(error)]
    if not path.read_bytes().endswith(b"\n"):
        return [f"{path.name}: the last line has no end."]
    found, keys = [], set()
    for number, result in enumerate(results, start=1):
        known = defaults[str(result["schema"])]
        settings = {"PPOConfig": result.get("settings", {})}
        settings["SFTConfig"] = result.get("warm_start", {}).get("settings", {})
        for config, changed in settings.items():
            for name, value in changed.items():
                if name not in known[config]:
                    found.append(f"{path.name}, line {number}: {name!r} was no setting of {config}.")
                elif value == known[config][name]:
                    found.append(f"{path.name}, line {number}: {name}={value!r} was the default; leave it out.")
        key = tuple(result.get(name) for name in KEY)
        if key in keys and any(part is not None for part in key):
            found.append(f"{path.name}, line {number}: there is a line with the same {', '.join(KEY)} before it.")
        keys.add(key)
    return found


def main() -> None:
    """Writes the pages, or compares them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is wrong")
    check = parser.parse_args().check

    defaults = json.loads((EXAMPLES / "defaults.json").read_text(encoding="utf-8"))
    wrong = [line for path in sorted(EXAMPLES.glob("*/results/**/*.jsonl")) for line in complaints(path, defaults)]
    if wrong:
        sys.exit("\n".join(wrong))
    found = tables()
    shown = {marks[1] for path in pages() for marks in MARKS.finditer(path.read_text(encoding="utf-8"))}
    drift = [f"No page has marks for the table {name!r}." for name in found if name not in shown]
    for path in pages():
        old = path.read_text(encoding="utf-8")
        new = fill_in(old, found)
        if check:
            name = str(path.relative_to(ROOT))
            drift += difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name} as committed", name, lineterm="")
        elif new != old:
            path.write_text(new, encoding="utf-8")
    if drift:
        sys.exit("\n".join([*drift, "", "The pages do not show the results: run `make docs-pages` and commit it."]))


if __name__ == "__main__":
    main()
