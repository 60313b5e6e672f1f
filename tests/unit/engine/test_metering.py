"""What readings of any length say of a slot of ten minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dso_engine.metering import EnergyReading, MeterOutcome, SlotEnergy, slot_energy
from dso_engine.model import SLOT

SLOT0 = datetime(2018, 5, 16, 10, 0, tzinfo=UTC)
CAME = SLOT0 + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NOTHING = SlotEnergy(outcome=MeterOutcome.MISSING)
GAPS = SlotEnergy(outcome=MeterOutcome.GAPS)
STRADDLES = SlotEnergy(outcome=MeterOutcome.STRADDLES)
UNCLEAR = SlotEnergy(outcome=MeterOutcome.UNCLEAR)


def reading(start: float, minutes: float | None, wh: float, *, came: float = 0) -> EnergyReading:
    """A reading that starts some minutes after the slot does, and when it came, minutes later than others."""
    begin = SLOT0 + start * MINUTE
    end = None if minutes is None else begin + minutes * MINUTE
    return EnergyReading(start=begin, end=end, wh=wh, at=CAME + came * MINUTE)


def metered(wh: int, *, came: float = 0) -> SlotEnergy:
    return SlotEnergy(outcome=MeterOutcome.METERED, wh=wh, at=CAME + came * MINUTE)


WHOLE = reading(0, 10, 50)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([], NOTHING),
        ([reading(-10, 10, 7), reading(10, 10, 7)], NOTHING),
        ([WHOLE], metered(50)),
        ([reading(0, 5, 20), reading(5, 5, -30, came=2)], metered(-10, came=2)),
        ([reading(k, 1, k) for k in range(10)], metered(45)),
        ([reading(0, 2.5, 0.4), reading(2.5, 7.5, 0.4)], metered(1)),
        ([reading(0, 5, 20)], GAPS),
        ([reading(5, 5, 20)], GAPS),
        ([reading(0, 4, 20), reading(5, 5, 20)], GAPS),
        ([reading(0, 30, 90)], STRADDLES),
        ([reading(-10, 30, 90)], STRADDLES),
        ([reading(-20, 30, 90)], STRADDLES),
        ([reading(0, 15, 90), reading(15, 15, 1)], STRADDLES),
        ([reading(0, 30, 90), WHOLE], metered(50)),
        ([reading(-5, 10, 90), reading(5, 5, 9)], GAPS),
        ([reading(0, None, 50)], metered(50)),
        ([reading(0, None, 50), reading(5, None, 50)], UNCLEAR),
        ([reading(0, None, 50), reading(5, 5, 50)], UNCLEAR),
        ([reading(0, 5, 50), reading(5, None, 50)], UNCLEAR),
        ([reading(-5, None, 50), WHOLE], metered(50)),
        ([reading(3, None, 50)], STRADDLES),
        ([WHOLE, reading(0, 10, 60, came=1)], metered(60, came=1)),
        ([WHOLE, reading(3, 1, 5, came=1)], GAPS),
        ([WHOLE, reading(0, 5, 1, came=1), reading(5, 5, 2, came=1)], metered(3, came=1)),
        ([reading(0, 5, 1), reading(5, 5, 2), reading(0, 10, 60, came=1)], metered(60, came=1)),
        ([WHOLE, reading(0, 5, 1)], metered(50)),
        ([WHOLE, reading(10, -10, 5, came=3), reading(0, 10, 1e16, came=4)], metered(50)),
    ],
)
def test_what_readings_say_of_a_slot(readings: Sequence[EnergyReading], expected: SlotEnergy) -> None:
    assert slot_energy(SLOT0, readings) == expected
    assert slot_energy(SLOT0, reversed(readings)) == expected, "their order is of no effect"


cuts = st.sets(st.integers(1, 599), max_size=20).map(lambda inner: [0, *sorted(inner), 600])


def partition(edges: Sequence[int], energies: Sequence[int]) -> list[EnergyReading]:
    parts = zip(pairwise(edges), energies, strict=False)
    return [reading(a / 60, (b - a) / 60, wh) for (a, b), wh in parts]


@given(edges=cuts, energies=st.lists(st.integers(-(10**9), 10**9), min_size=21, max_size=21))
def test_the_parts_of_a_slot_are_the_slot(edges: list[int], energies: list[int]) -> None:
    parts = partition(edges, energies)
    assert slot_energy(SLOT0, parts) == metered(sum(energies[: len(parts)]))


@given(edges=cuts, energies=st.lists(st.integers(-999, 999), min_size=21, max_size=21), data=st.data())
def test_a_slot_with_a_part_missing_is_not_metered(
    edges: list[int], energies: list[int], data: st.DataObject
) -> None:
    parts = partition(edges, energies)
    del parts[data.draw(st.integers(0, len(parts) - 1))]
    assert slot_energy(SLOT0, parts) == (GAPS if parts else NOTHING)


@given(old=cuts, new=cuts, energies=st.lists(st.integers(-999, 999), min_size=21, max_size=21))
def test_a_whole_slot_that_comes_later_counts_alone(
    old: list[int], new: list[int], energies: list[int]
) -> None:
    later = [replace(each, at=each.at + MINUTE) for each in partition(new, energies)]
    both = [*later, *partition(old, [500] * 21)]
    assert slot_energy(SLOT0, both) == metered(sum(energies[: len(later)]), came=1)


@given(
    st.lists(
        st.builds(
            reading,
            st.integers(-20, 30),
            st.none() | st.integers(-1, 40),
            st.integers(-99, 99),
            came=st.integers(0, 3),
        ),
        max_size=8,
    )
)
def test_only_what_lies_within_a_slot_makes_it_metered(readings: list[EnergyReading]) -> None:
    found = slot_energy(SLOT0, readings)
    inside = [each for each in readings if each.start >= SLOT0 and each.until <= SLOT0 + SLOT]
    assert (found.at is not None) == (found.outcome is MeterOutcome.METERED)
    if found.outcome is MeterOutcome.METERED:
        assert found.at in {each.at for each in inside}
        assert found == slot_energy(SLOT0, inside)
