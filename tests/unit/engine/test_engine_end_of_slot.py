"""The price near the end of a slot: homes catch up, so what the energy allows the power may not do."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from dso_engine.bounds import PccBound
from dso_engine.control import _flow_bounds
from dso_engine.game import FlowBounds
from dso_engine.model import SLOT, Pcc, Phase
from tests.unit.engine.test_engine_control import SLOT1, desk, projected_state_is_safe


async def test_sun_that_comes_back_finds_the_price_in_place() -> None:
    """For four minutes a cloud takes 3 kW of every PV home; the energy so far then leaves room for far more
    than the limits allow, and a price that made use of it would break them for the rest of the slot."""
    made = desk()
    await made.prepare(SLOT1)
    pv = made.street.up_kwh > 0

    def cloud(now: datetime) -> None:
        covered = timedelta(seconds=120) <= now - SLOT1 < timedelta(seconds=360)
        made.street.error_kw = np.where(pv & covered, 3.0, 0.0)

    await made.play(SLOT1, each=cloud)
    projected_state_is_safe(made)
    assert any(u < 0 for prices in made.published(SLOT1).values() for u in prices)


async def test_no_step_in_the_last_half_minute() -> None:
    made = desk()
    await made.prepare(SLOT1)
    await made.play(SLOT1)
    late = [r for r in made.steps(SLOT1) if SLOT1 + SLOT - r.at <= timedelta(seconds=30)]
    assert late
    assert not any(r.stepped for r in late)
    assert any(r.stepped for r in made.steps(SLOT1))


def test_bounds_that_contradict_each_other_are_no_error() -> None:
    """Found on a weak network: export of two phases lowered the voltage of the third, where homes import."""
    bound = PccBound(pcc=Pcc(feeder=1, phase=Phase.A), c_lo_kw=-5.9, c_hi_kw=-9.5)
    assert _flow_bounds(bound) == FlowBounds(c_lo_kw=-5.9)
