"""What an import costs, where import-linter cannot look: it does not tell a lazy import from an eager one."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agents/rlfl_agents"
HEAVY = ["accelerate", "jax", "jpype", "ludax", "matplotlib", "peft", "stable_baselines3", "torch", "transformers"]


@pytest.mark.parametrize("module", ["rlfl_envs", "rlfl_agents", "rlfl_agents.cli"])
def test_import_is_light(module: str) -> None:
    """Importing the environments, playing one, or starting the command line loads no deep-learning library."""
    code = f"""
import sys, gymnasium, rlfl_envs, {module}
for id in rlfl_envs.list_ids():
    try:
        gymnasium.make(id).reset(seed=0)
    except rlfl_envs.MissingDependencyError:
        pass
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("path", sorted((AGENT / "learn").glob("*.py")), ids=lambda path: path.stem)
def test_pure_functions_import_only_torch(path: Path) -> None:
    """Besides torch, its compiler and each other, the modules of `learn` import nothing but the standard library."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [f"{'.' * node.level}{node.module or ''}" for node in nodes if isinstance(node, ast.ImportFrom)]
    others = {name.split(".")[0] for name in imported if not name.startswith("rlfl_agents.learn.")}
    assert others - set(sys.stdlib_module_names) <= {"torch", "triton"}
