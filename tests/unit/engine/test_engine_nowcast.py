"""What a home will exchange: its commitment, corrected by how wrong the last one was."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dso_engine.hourly import HourBook
from dso_engine.model import SLOT, Commitment, HomeId
from dso_engine.nowcast import Nowcast
from tests.unit.engine.engine_fakes import HOUR, FakeExchange

A, B, C = HomeId("H01"), HomeId("H02"), HomeId("H03")
NOW = HOUR + 2 * SLOT + timedelta(minutes=8)
"""Two minutes before the fourth slot; the second is the last that is over."""


def plan(home: HomeId, slot: datetime, wh: int) -> Commitment:
    return Commitment(home=home, slot=slot, grid_energy_wh=wh, up_w=0, down_w=0)


def nowcast(*plans: Commitment) -> tuple[Nowcast, FakeExchange]:
    exchange, book = FakeExchange(), HourBook()
    book.keep_commitments(plans)
    return Nowcast(exchange=exchange, book=book), exchange


async def test_commitment_plus_the_last_error() -> None:
    """Planned -300 Wh and metered -350: -50 Wh carried to a plan of -400 Wh is -450 Wh, -2.7 kW."""
    cast, exchange = nowcast(plan(A, HOUR + SLOT, -300), plan(A, HOUR + 3 * SLOT, -400))
    exchange.meters[HOUR + SLOT] = {A: -350}
    assert await cast.expected_kw(HOUR + 3 * SLOT, NOW) == {A: pytest.approx(-2.7)}


async def test_what_is_not_known_is_left_out() -> None:
    slot = HOUR + 3 * SLOT
    cast, exchange = nowcast(plan(A, slot, 100), plan(B, slot, 200))
    exchange.meters[HOUR + SLOT] = {B: 500, C: 300}
    assert await cast.expected_kw(slot, NOW) == {
        A: pytest.approx(0.6),  # no meter: the plan
        B: pytest.approx(3.0),  # a meter, but nothing to compare it with: the meter
        C: pytest.approx(1.8),  # no plan: the meter
    }


async def test_nothing_known_is_nothing_said() -> None:
    cast, _ = nowcast()
    assert await cast.expected_kw(HOUR, NOW) == {}


async def test_the_newest_metered_slot_counts_and_an_old_one_does_not() -> None:
    slot = HOUR + 3 * SLOT
    cast, exchange = nowcast(plan(A, slot, 0), *(plan(A, HOUR + k * SLOT, 0) for k in range(-3, 2)))
    exchange.meters = {HOUR - 2 * SLOT: {A: 999}}  # four slots back
    assert await cast.expected_kw(slot, NOW) == {A: 0.0}
    exchange.meters = {HOUR - SLOT: {A: 60}, HOUR + 2 * SLOT: {A: 999}}  # the running slot is not over
    assert await cast.expected_kw(slot, NOW) == {A: pytest.approx(0.36)}
    exchange.meters[HOUR] = {A: 30}
    assert await cast.expected_kw(slot, NOW) == {A: pytest.approx(0.18)}
