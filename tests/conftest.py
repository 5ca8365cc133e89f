"""Settings for every test."""

import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads a model
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["RLFL_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "rlfl")  # not the developer's own

# On a busy machine the first call of anything is slow, and a deadline would fail at random. CI always tries the same
# examples.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")
