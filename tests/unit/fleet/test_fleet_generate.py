"""Synthetic feeders: seeded, inside their ranges, and usable as networks."""

from __future__ import annotations

import dataclasses
import pickle
from functools import cache

import numpy as np
import pytest

from dso_engine.fixed_point import FixedPoint
from dso_engine.model import FloatArray
from dso_engine.powerflow import Injections
from feederloop.fleet.generate import Fleet, SyntheticFeeder, make_feeder
from tests.unit.fleet.fleet_rig import reference_names, small_fleet

PROFILES = 50


@cache
def feeders() -> tuple[SyntheticFeeder, ...]:
    return tuple(make_feeder(small_fleet(), number, PROFILES) for number in range(120))


def lengths(feeder: SyntheticFeeder) -> list[float]:
    return [segment.length_m for segment in feeder.network.segments if segment.linecode is not None]


def factors_of(feeder: SyntheticFeeder) -> FloatArray:
    """How much longer each line is than in the reference, which is known by its cable."""
    segments = [s for s in feeder.network.segments if s.linecode is not None]
    cables = {s.linecode.id for s in segments if s.linecode is not None}
    (part,) = [each for each in small_fleet().references if {line.linecode for line in each.lines} == cables]
    known = {line.id: line.length_m for line in part.lines}
    return np.array([s.length_m / known[s.id] for s in segments])


def test_a_feeder_depends_on_seed_and_number_alone() -> None:
    again = make_feeder(small_fleet(), 7, PROFILES)
    first = feeders()[7]
    assert lengths(again) == lengths(first)
    assert again.network.homes == first.network.homes
    for part in ("pv_kwp", "pv_yield", "has_battery", "with_switch", "profile", "weeks", "load_scale"):
        np.testing.assert_array_equal(getattr(again, part), getattr(first, part))
    other = make_feeder(small_fleet(seed=1), 7, PROFILES)
    assert lengths(other) != lengths(first)
    assert lengths(feeders()[8]) != lengths(first)


def test_homes_are_in_range_and_all_counts_occur() -> None:
    assert {len(each.network.homes) for each in feeders()} == set(range(6, 13))
    for each in feeders():
        assert len({home.id for home in each.network.homes}) == len(each.network.homes)
        assert not each.network.generators


def test_lengths_are_those_of_the_reference_times_reach_and_spread() -> None:
    fleet = small_fleet()
    for each in feeders():
        factors = factors_of(each)
        assert factors.min() >= fleet.reach_min * (1.0 - fleet.length_spread)
        assert factors.max() <= fleet.reach_max * (1.0 + fleet.length_spread)
        assert np.ptp(factors) > 0.0


def test_both_references_are_varied() -> None:
    codes = {
        next(s.linecode.id for s in each.network.segments if s.linecode is not None) for each in feeders()
    }
    assert len(codes) == len(reference_names())


def test_belongings_fit_together() -> None:
    for each in feeders():
        assert not (each.has_battery & (each.pv_kwp == 0.0)).any()
        owned = each.pv_kwp[each.pv_kwp > 0.0]
        assert ((owned >= 5.0) & (owned <= 12.0)).all()
        per_feeder = np.bincount(each.network.home_feeder[each.with_switch], minlength=2)
        assert per_feeder.max() <= small_fleet().switches
        assert ((each.profile >= 0) & (each.profile < PROFILES)).all()
        assert (np.abs(each.weeks) <= 4).all()


def test_phases_are_a_third_each_in_the_mean_and_uneven_in_each_feeder() -> None:
    shares = np.array(
        [np.bincount(each.network.home_phase, minlength=3) / len(each.network.homes) for each in feeders()]
    )
    np.testing.assert_allclose(shares.mean(axis=0), 1.0 / 3.0, atol=0.06)
    assert shares.max(axis=1).mean() > 0.4


def test_a_feeder_is_a_network_that_can_be_solved() -> None:
    for each in feeders()[:20]:
        homes = len(each.network.homes)
        state = FixedPoint(each.network).solve(
            Injections(p_kw=np.ones(homes), q_kvar=np.zeros(homes), phase=each.network.home_phase), "one kW"
        )
        assert 180.0 < state.v_v.min() < 240.0


def test_equal_fleets_have_equal_names_on_every_machine_and_others_have_not() -> None:
    fleet = small_fleet()
    assert fleet.digest == small_fleet().digest
    assert pickle.loads(pickle.dumps(fleet)).digest == fleet.digest
    changes: tuple[dict[str, float], ...] = (
        {"seed": 1},
        {"homes_max": 13},
        {"reach_max": 4.5},
        {"pv_kwp_max": 12.5},
        {"balance": 21.0},
        {"length_spread": 0.2},
    )
    digests = {_changed(fleet, change).digest for change in changes}
    assert len(digests) == len(changes)
    assert fleet.digest not in digests
    assert dataclasses.replace(fleet, references=fleet.references[:1]).digest not in {*digests, fleet.digest}


def _changed(fleet: Fleet, change: dict[str, float]) -> Fleet:
    values = {
        each.name: getattr(fleet, each.name) for each in dataclasses.fields(Fleet) if each.name != "digest"
    }
    return Fleet(**(values | change))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"homes_min": 0},
        {"homes_min": 13},
        {"reach_min": 0.0},
        {"reach_min": 5.0},
        {"pv_share_min": 1.1},
        {"pv_share_max": 0.2},
        {"pv_kwp_min": 0.0},
        {"pv_kwp_min": 13.0},
        {"length_spread": 1.0},
        {"length_spread": float("nan")},
        {"battery_share": -0.1},
        {"switches": 8},
        {"balance": 0.0},
        {"references": ()},
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|needs|are"):
        _changed(small_fleet(), change)
