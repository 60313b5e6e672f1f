"""Reports of a home over windows that are not cut where its slots are."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.oadr20b.model import PayloadFloat, ReportPayload
from tests.unit.home.rig import MIDNIGHT, at, make_rig
from ven_client.slots import SLOT, complete_slots

SECOND = timedelta(seconds=1)


def test_slots_that_a_stretch_completes() -> None:
    assert complete_slots(at(1), at(1) + 2 * SLOT) == (at(1), at(1) + SLOT)
    assert complete_slots(at(1) + SECOND, at(1) + 2 * SLOT) == (at(1), at(1) + SLOT)
    assert complete_slots(at(1), at(1) + 2 * SLOT - SECOND) == (at(1),)
    assert complete_slots(at(1), at(1) + SLOT - SECOND) == ()
    assert complete_slots(at(1), at(1)) == () == complete_slots(at(2), at(1))


@given(cuts=st.lists(st.integers(0, 7200), min_size=2, max_size=20))
def test_stretches_that_follow_each_other_have_each_slot_once(cuts: list[int]) -> None:
    moments: list[datetime] = [MIDNIGHT + each * SECOND for each in sorted(cuts)]
    parts = [slot for start, end in pairwise(moments) for slot in complete_slots(start, end)]
    assert tuple(parts) == complete_slots(moments[0], moments[-1])
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize("specifier", ["meter-energy", "storage", "status"])
@pytest.mark.parametrize("past", [timedelta(0), 3 * timedelta(minutes=1), SLOT - SECOND], ids=str)
def test_the_latest_ten_minutes_have_the_slot_that_ended_in_them(specifier: str, past: timedelta) -> None:
    rig = make_rig()
    rig.run(at(2) + past)
    (interval,) = rig.report(specifier, SLOT)
    assert interval.dtstart == at(2) - SLOT
    if specifier == "meter-energy":
        (payload,) = interval.payloads
        assert isinstance(payload, ReportPayload)
        assert isinstance(payload.payload, PayloadFloat)
        assert payload.payload.value == pytest.approx(1000 / 6, abs=1)


def test_power_is_the_mean_of_the_minutes_that_ended() -> None:
    rig = make_rig()
    rig.run(at(2) + timedelta(minutes=3, seconds=7))
    intervals = rig.report("meter-power", timedelta(minutes=2))
    assert [each.dtstart for each in intervals] == [at(2) + timedelta(minutes=k) for k in (1, 2)]
