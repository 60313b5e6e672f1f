"""What the tests of the programs share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the logging of the test run alone."""
    monkeypatch.setattr(
        "feederloop.logs.setup_logs", lambda level, form: logging.getLogger().setLevel("INFO")
    )
