"""Prepares a release: writes its version where it stands, and its date into the changelog. docs/releasing.md says when.

The one place for the version is rlfl_envs/__init__.py. CITATION.cff and the newest section of CHANGELOG.md repeat it.

    python docs/_scripts/release.py 0.2.0            # writes
    python docs/_scripts/release.py --check 0.2.0    # fails unless all say so, and the section has a date
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = {
    "rlfl_envs/__init__.py": re.compile(r'(?<=^__version__ = ")[^"]+', re.MULTILINE),
    "CITATION.cff": re.compile(r"(?<=^version: ).+", re.MULTILINE),
    "CHANGELOG.md": re.compile(r"(?<=^## \[)[^\]]+", re.MULTILINE),  # the first is the newest
}
UNDATED = re.compile(r"(?<=\] - )unreleased$", re.MULTILINE)


def versions(root: Path = ROOT) -> dict[str, str]:
    """Which version each place names, by its path."""
    return {path: pattern.findall((root / path).read_text(encoding="utf-8"))[0] for path, pattern in PLACES.items()}


def complaints(version: str, root: Path = ROOT) -> list[str]:
    """Why this version cannot be published."""
    found = [f"{path} says {other}, not {version}." for path, other in versions(root).items() if other != version]
    if UNDATED.search((root / "CHANGELOG.md").read_text(encoding="utf-8")):
        found.append("CHANGELOG.md has a section without a date.")
    return found


def write(version: str, day: str, root: Path = ROOT) -> None:
    """Writes a version into all places, and the day of its release into the changelog.

    Raises:
        ValueError: The version is no MAJOR.MINOR.PATCH, or the changelog's newest section has a date already.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"version={version!r} is not allowed; allowed: three numbers, such as 0.2.0.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not UNDATED.search(changelog):
        raise ValueError("CHANGELOG.md has no section that is unreleased: write what changed, then release it.")
    for path, pattern in PLACES.items():
        text = (root / path).read_text(encoding="utf-8")
        (root / path).write_text(pattern.sub(version, text, count=1), encoding="utf-8")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    (root / "CHANGELOG.md").write_text(UNDATED.sub(day, changelog, count=1), encoding="utf-8")


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--check", action="store_true", help="write nothing")
    chosen = parser.parse_args()
    if chosen.check:
        sys.exit("\n".join(complaints(chosen.version)) or None)
    write(chosen.version, dt.datetime.now(tz=dt.UTC).date().isoformat())
    print(f"{', '.join(PLACES)} say {chosen.version}. Commit them, and tag the commit v{chosen.version}.")


if __name__ == "__main__":
    main()
