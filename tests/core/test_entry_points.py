"""Tasks of installed packages: found by the entry points that they declare."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import rlfl_envs

TASKS = """
import rlfl_envs

def reward(prompt, completion):
    return completion == prompt

rlfl_envs.register_task("their/Echo-v0", reward, prompts=["a", "b"])
"""
ASK = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    import rlfl_envs
print("their/Echo-v0" in rlfl_envs.list_ids(), rlfl_envs.load_task("their/Echo-v0").max_prompt_tokens, len(caught))
print(*[warning.message for warning in caught], sep="\\n")
"""


def test_installed_packages(tmp_path: Path) -> None:
    """Their ids are there without being named; one that raises, or exits, is warned of and ignored."""
    (tmp_path / "their_tasks.py").write_text(TASKS)
    (tmp_path / "broken_tasks.py").write_text("1 / 0")
    (tmp_path / "leaving_tasks.py").write_text("raise SystemExit(3)")
    for name in ("broken", "leaving", "their"):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[rlfl_envs.tasks]\n{name} = {name}_tasks\n")
    path = os.pathsep.join([str(tmp_path), str(Path(rlfl_envs.__file__).parents[1])])
    found = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    lines = [found.stdout.splitlines()[0], *sorted(found.stdout.splitlines()[1:])]
    assert lines[0] == "True 2 2"
    assert "The tasks of 'broken_tasks' cannot be loaded: ZeroDivisionError" in lines[1]
    assert "The tasks of 'leaving_tasks' cannot be loaded: SystemExit(3)" in lines[2]
