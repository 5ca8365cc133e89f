"""The settings: what is allowed, and what a file keeps of them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlfl_agents.config import PPOConfig, PretrainConfig, SFTConfig
from rlfl_agents.presets import PRESETS, preset
from rlfl_agents.settings import SETTINGS_VERSION, Settings
from rlfl_envs import ConfigError

CONFIGS = (PretrainConfig, SFTConfig, PPOConfig)


def test_settings_and_presets_import_no_torch() -> None:
    """Nor anything else that `rlfl train --help` would have to wait for."""
    heavy = ("torch", "transformers", "accelerate", "matplotlib", "rich")
    code = f"import rlfl_agents.presets, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("config", [preset(env_id, seed=3) for env_id in PRESETS] + [cls() for cls in CONFIGS])
def test_settings_survive_a_file(config: Settings, tmp_path: Path) -> None:
    """All of them, or those alone that are not defaults: what is read is equal."""
    for number, entries in enumerate((config.to_json(), config.changes())):
        assert entries["version"] == SETTINGS_VERSION
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(entries))
        assert type(config).read(path) == config


def test_changes_are_what_differs_from_the_defaults() -> None:
    """So that a setting that is added later is in no older file."""
    config = PPOConfig(seed=3, env_kwargs={"length": 2}, threads=0)
    assert config.changes() == {"version": SETTINGS_VERSION, "seed": 3, "env_kwargs": {"length": 2}}


def test_settings_of_version_0_1_are_read() -> None:
    """They name no version, and lack what came later: the defaults."""
    entries = PPOConfig(prompts=8, report_to=("wandb",)).to_json()
    for name in ("version", "batch_entropy_positions"):
        del entries[name]
    assert PPOConfig.from_json(json.loads(json.dumps(entries))) == PPOConfig(prompts=8, report_to=("wandb",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[1]", "cannot convert"),
        ('{"layrs": 3}', "'layrs' is no setting of PPOConfig. Did you mean 'layers'?"),
        ('{"version": 99}', f"version=99 is not allowed; allowed: 1 to {SETTINGS_VERSION}"),
        ('{"layers": "two"}', "layers='two' is not allowed; allowed: int"),
        ('{"env_kwargs": null}', "env_kwargs=None is not allowed; allowed: dict"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(text: str, message: str, tmp_path: Path) -> None:
    """With what is wrong in it; never a traceback of ours."""
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        PPOConfig.read(path)
    assert str(error.value).startswith(repr(str(path)))
    assert message in str(error.value)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_is_checked(config: type[Settings]) -> None:
    """A value of a wrong type is refused whatever the field, with the field's name."""
    for each in dataclasses.fields(config):
        wrong: Any = object()
        with pytest.raises(ConfigError, match=rf"^{each.name}=<object object at .*> is not allowed; allowed: "):
            config(**{each.name: wrong})
