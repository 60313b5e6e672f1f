"""Nothing a VTN answered is lost or doubled when it is killed; the long run is ``bench/kill9.py``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from schemas.oadr20b.enums import OptType
from tests.e2e.kill9_day import day
from tests.e2e.kill9_ledger import Ledger, VenLedger, compare
from tests.unit.vtn.rig import ALICE, PROVISIONS, START
from vtn_server.decision import SaveVen
from vtn_server.sqlstore import open_store
from vtn_server.state import Ven

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


async def test_a_day_with_kills_on_sqlite(tmp_path: Path) -> None:
    outcome = await day(str(tmp_path / "vtn.sqlite"), kills=6, seed=1)
    assert outcome.facts > 6  # it was not an idle day
    assert outcome.replays > 0


async def test_a_day_with_kills_on_postgresql(postgres_url: str) -> None:
    outcome = await day(postgres_url, kills=3, seed=2)
    assert outcome.facts > 3


async def test_the_comparison_notices_a_loss(tmp_path: Path) -> None:
    url = str(tmp_path / "vtn.sqlite")
    store = open_store(url)
    await store.commit([SaveVen(ven=Ven(ven_id=ALICE, provision=PROVISIONS[0], version=1))])
    await store.close()
    await compare(url, Ledger(vens={ALICE: VenLedger()}))
    for told in (
        VenLedger(registration_id="r"),
        VenLedger(accepted={"r"}),
        VenLedger(opts={"e": (0, OptType.OPT_IN)}),
        VenLedger(schedules={"s"}),
        VenLedger(readings={START + timedelta(hours=1): 1.0}),
    ):
        with pytest.raises(AssertionError, match="lost"):
            await compare(url, Ledger(vens={ALICE: told}))
    for ledger in (Ledger(events={"e": 0}), Ledger(requested={ALICE: {1}})):
        with pytest.raises(AssertionError, match="lost"):
            await compare(url, ledger)
