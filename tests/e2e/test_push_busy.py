"""Pushes while the store has no time for them: late, but neither lost nor doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from feederloop.clock import SimClock
from schemas.oadr20b.enums import ResponseRequired
from tests.e2e.push_rig import Street, Vtn
from tests.unit.ven.ven_fakes import T0, after
from tests.unit.vtn.rig import draft
from vtn_server import push
from vtn_server.state import VenId
from vtn_server.store import StoreBusy

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    vtn = await Vtn(SimClock(T0)).start()
    await vtn.announce("ann")
    made = Street(vtn)
    yield made
    await made.close()


@pytest.mark.parametrize("fails", [(0, 1), (1, 2)], ids=["before", "after"])
async def test_a_push_waits_for_the_store(
    street: Street, fails: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Claiming what is pushed fails, or taking down that it was: each twice."""
    ann = await street.open("ann")
    await street.until(minutes=1)
    books = street.vtn.service.books
    change, asked = books.change, 0

    async def busy(keys: tuple[str, ...], *rest: Any) -> Any:
        nonlocal asked
        if keys == (ann.ven_id,):  # else it is the operator's
            asked += 1
            if asked - 1 in fails:
                raise StoreBusy("others were faster")
        return await change(keys, *rest)

    monkeypatch.setattr(books, "change", busy)
    monkeypatch.setattr(push, "_BUSY_S", 0.0, raising=False)
    before = len(ann.incoming)
    audience = (VenId("ven-ann"),)
    await street.vtn.operator.publish_events(
        [draft("e1", start=after(hours=1), audience=audience, required=ResponseRequired.NEVER)]
    )
    await street.until(minutes=20)
    assert asked > max(fails)
    assert ann.home.holds() == ("e1",)
    assert len(ann.incoming) == before + 1
    assert not [each for each in caplog.records if each.exc_info]
    assert audience[0] in street.vtn.dispatcher._workers  # there is somebody for what comes next
