"""The hub is asked once, quickly, and what it says becomes one line."""

from __future__ import annotations

from typing import Any

import huggingface_hub
import pytest

from rlfl_envs import ConfigError, check_hub


def test_what_was_downloaded_before_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is looked at first."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: pytest.fail("asked the hub"))
    check_hub("model", "some/model", "config.json")


def test_what_the_hub_knows_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked with a time limit."""
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: asked.append((name, timeout)))
    check_hub("model", "some/model", "config.json")
    assert asked == [("some/model", 10)]


@pytest.mark.parametrize(
    "error", [ConnectionError("no\nnetwork"), ValueError("not a name"), RuntimeError("x" * 10_000)]
)
def test_everything_else_is_one_short_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, its value, and the reason."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    with pytest.raises(ConfigError) as caught:
        check_hub("model", "some/model", "config.json")
    message = str(caught.value)
    assert message.startswith("model='some/model' is no file or folder, and cannot be had from the Hugging Face hub (")
    assert "\n" not in message
    assert len(message) < 350
