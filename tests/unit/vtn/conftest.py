"""Fixtures of the VTN's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from schemas.oadr20b.model import Report
from tests.unit.vtn.rig import MemoryStore, Rig, wanted
from vtn_server.sqlstore import SqlStore
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


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store, empty."""
    kind: Store = MemoryStore() if request.param == "memory" else SqlStore(tmp_path / "vtn.sqlite")
    yield kind
    await kind.close()
