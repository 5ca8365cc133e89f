"""Seeds give the prompts of version 0.1 and completions its rewards, bit for bit, for every id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlfl_envs.tasks.games.task import GameSynthesis
from tests import golden
from tests.settings import ALL_IDS, LUDII, REAL_POOL, missing, name_of

FILES = {id: json.loads(golden.path_of(id).read_text(encoding="utf-8")) for id in golden.SETTINGS}
ENTRIES = [(id, entry) for id, file in FILES.items() for entry in file["settings"]]


def test_every_id_of_the_first_version_has_a_file() -> None:
    """No id is gone, and the files hold the settings that are listed. Ludii's licence keeps its games out."""
    assert {*FILES, LUDII} <= {*ALL_IDS}
    assert {id: [entry["arguments"] for entry in file["settings"]] for id, file in FILES.items()} == golden.SETTINGS


@pytest.mark.parametrize(("id", "entry"), ENTRIES, ids=[name_of((id, entry["arguments"])) for id, entry in ENTRIES])
def test_golden(id: str, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts, token ids, outcomes, masks and episodes are those on file; see `tests/golden.py` where they are not."""
    if missing(id):
        pytest.skip(f"{id} needs {', '.join(missing(id))}")
    monkeypatch.setattr(GameSynthesis, "_pool", REAL_POOL)
    is_comparable = golden.versions(id) == FILES[id]["packages"]
    found = golden.describe(id, entry["arguments"])
    for name, expected in entry.items():
        if is_comparable or name not in golden.REWARDED:
            # As text: it tells -0.0 from 0.0, and NaN equals NaN.
            assert json.dumps(found[name]) == json.dumps(expected), name
    if not is_comparable:
        pytest.skip(f"rewards were made with {FILES[id]['packages']}; installed: {golden.versions(id)}")
