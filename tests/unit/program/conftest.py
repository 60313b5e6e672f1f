"""What the tests of the programs share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the logging of the test run alone."""
    level = logging.getLogger().level
    monkeypatch.setattr(
        "feederloop.logs.setup_logs", lambda level, form: logging.getLogger().setLevel("INFO")
    )
    yield
    logging.getLogger().setLevel(level)
