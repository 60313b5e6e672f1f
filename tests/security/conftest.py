"""The servers that are attacked, one process for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.grounds import Ground, grounds


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Servers with everybody registered; attacks change nothing, so all tests share them."""
    with grounds(tmp_path_factory.mktemp("grounds")) as running:
        yield running
