"""The built wheel in a clean environment without torch: what `pip install rlfl-envs` gives a user."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

PLAY = """
import importlib.util
import sys

import gymnasium
import rlfl_envs

assert "site-packages" in rlfl_envs.__file__
assert importlib.util.find_spec("torch") is None

env = gymnasium.make("rlfl/Arithmetic-v0")
_, info = env.reset(seed=0)
ended = False
while not ended:
    action = env.action_space.sample(info["action_mask"])
    _, reward, ended, _, info = env.step(action)
assert 0.0 <= reward <= 1.0 and "completion" in info

envs = gymnasium.make_vec("rlfl/Copy-v0", num_envs=4)
envs.reset(seed=0)
envs.step(envs.action_space.sample())
assert {"torch", "transformers"}.isdisjoint(sys.modules)
"""


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a command outside this process's environment and returns what it did; never raises."""
    return subprocess.run([str(word) for word in command], cwd=cwd, env=ENVIRONMENT, text=True, capture_output=True)


def check(result: subprocess.CompletedProcess[str]) -> str:
    """Returns what a command printed, once it has succeeded."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by way of the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    probe = run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "probe", "hatchling"
    )
    if probe.returncode != 0:
        pytest.skip(f"pip reaches no package registry: {probe.stderr.strip()[-200:]}")
    check(run(sys.executable, "-m", "build", "--outdir", folder, ROOT))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    check(run(folder / "bin/python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel))
    return folder / "bin"


def test_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    """Both packages say that they are typed; tests and examples stay at home."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {"rlfl_envs/py.typed", "rlfl_agents/py.typed", "rlfl_agents/cli/__init__.py"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rlfl_envs", "rlfl_agents"}
    parts = [part.lower() for name in names for part in name.split("/")]
    assert not [part for part in parts if part.startswith(("test", "example"))]


def test_environments_play_without_torch(clean: Path, tmp_path: Path) -> None:
    """An episode is played from another folder, and nothing asks for torch."""
    check(run(clean / "python", "-W", "error", "-c", PLAY, cwd=tmp_path))


def test_base_commands_work_without_torch(clean: Path, tmp_path: Path) -> None:
    """`rlfl list` lists and `rlfl show` shows."""
    assert "rlfl/Arithmetic-v0" in check(run(clean / "rlfl", "list", cwd=tmp_path))
    assert "Known exploits" in check(run(clean / "rlfl", "show", "rlfl/Copy-v0", cwd=tmp_path))


def test_agent_commands_say_what_to_install(clean: Path, tmp_path: Path) -> None:
    """`rlfl train` without the agent extra ends with advice, not with a traceback."""
    result = run(clean / "rlfl", "train", "rlfl/Copy-v0", cwd=tmp_path)
    assert result.returncode != 0
    assert "rlfl-envs[agent]" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
