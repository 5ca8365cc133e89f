"""Settings for every test."""

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads a model
os.environ.setdefault("MPLBACKEND", "Agg")

# On a busy machine the first call of anything is slow, and a deadline would fail at random. CI always tries the same
# examples.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")
