"""Fixtures of the VTN's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from schemas.oadr20b.model import Report
from tests.unit.vtn.rig import MemoryStore, Rig, wanted
from vtn_server.sqlstore import open_store
from vtn_server.state import ReportRequestDraft, VenId
from vtn_server.store import Store


@pytest.fixture
async def rig() -> Rig:
    """A VTN in memory that knows alice and bob and asks for no reports."""
    return await Rig(MemoryStore()).start()


@pytest.fixture
async def asking() -> Rig:
    """A VTN in memory that asks for everything it is offered."""

    def plan(ven_id: VenId, metadata: tuple[Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
        del ven_id, now
        return tuple(
            wanted(each.report_specifier_id, tuple(line.r_id for line in each.descriptions))
            for each in metadata
        )

    return await Rig(MemoryStore(), plan=plan).start()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind that survives."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vtn.sqlite'}"
    url = request.getfixturevalue("postgres_url")
    assert isinstance(url, str)
    return url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store, empty."""
    kind: Store
    match request.param:
        case "memory":
            kind = MemoryStore()
        case "sqlite":
            kind = open_store(str(tmp_path / "vtn.sqlite"))
        case _:
            kind = open_store(request.getfixturevalue("postgres_url"))
    yield kind
    await kind.close()
