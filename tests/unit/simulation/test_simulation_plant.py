"""The plant: meters show the solved state, and the observer sees the slot that ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest

from config.settings import data_path
from dso_engine.feeder import load_network
from dso_engine.model import SLOT, Limits
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.slot_figures import run_series
from feederloop.simulation.plant import PhysicalHome, Plant

NOW = datetime(2018, 5, 16, 11, tzinfo=UTC)


@cache
def flow() -> PandapowerFlow:
    return PandapowerFlow(load_network(data_path("networks", "lv_50h_rural.json")))


class Steady:
    """A home that exchanges one power before ``NOW`` and another from then on."""

    def __init__(self, before_kw: float, after_kw: float, load_kw: float, phase: int) -> None:
        self._before_kw, self._after_kw, self._load_kw, self._phase = before_kw, after_kw, load_kw, phase

    def net_kw(self, now: datetime) -> float:
        return self._before_kw if now < NOW else self._after_kw

    def load_kw(self, now: datetime) -> float:
        del now
        return self._load_kw

    def phase(self, now: datetime) -> int:
        return self._phase if now < NOW else self._phase % 3 + 1


def plant(before_kw: float = -3.0, after_kw: float = 1.0) -> Plant:
    homes: list[PhysicalHome] = [
        Steady(before_kw - 0.01 * k, after_kw, 0.5, home.phase + 1)
        for k, home in enumerate(flow().network.homes)
    ]
    return Plant(flow=flow(), homes=homes, limits=Limits(), q_per_p=0.2)


async def test_readings_are_the_state() -> None:
    street = plant()
    state = street.state(NOW)
    readings = await street.read(NOW)
    assert [r.pcc for r in readings] == list(flow().network.pccs)
    assert all(r.taken_at == NOW for r in readings)
    for r in readings:
        at = flow().network.feeders.index(r.pcc.feeder), int(r.pcc.phase)
        assert r.p_kw == state.pcc_p_kw[at]
        assert r.q_kvar == state.pcc_q_kvar[at]
        assert r.v_v == state.pcc_v_v[at]


def test_reactive_power_follows_the_load_and_not_the_exchange() -> None:
    assert np.allclose(plant().injections(NOW).q_kvar, 0.1)


def test_phases_are_counted_from_zero_inside() -> None:
    before = plant().injections(NOW - timedelta(seconds=1))
    assert list(before.phase) == [int(h.phase) for h in flow().network.homes]
    after = plant().injections(NOW)
    assert list(after.phase) == [(int(h.phase) + 1) % 3 for h in flow().network.homes]


def test_a_look_at_the_edge_sees_the_slot_that_ends() -> None:
    view = plant().look(NOW)
    assert view.slot == NOW - SLOT
    assert view.net_kw[0] == -3.0
    assert view.net_kw[49] == pytest.approx(-3.49)
    assert list(view.phase) == [int(h.phase) for h in flow().network.homes]


def test_violations_are_of_the_limits_without_guard() -> None:
    assert plant(before_kw=0.1).look(NOW).violations == ()
    assert plant(before_kw=-6.0).look(NOW).violations


def test_as_many_homes_as_connections() -> None:
    with pytest.raises(ValueError, match="0 homes for 50 connections"):
        Plant(flow=flow(), homes=[], limits=Limits(), q_per_p=0.2)


def test_series_are_per_slot_and_phase() -> None:
    views = [plant().look(NOW), plant(before_kw=0.5).look(NOW)]
    series = run_series([view.state for view in views])
    assert series.v_max_v.shape == (2, 3)
    assert series.v_max_v[0].max() == views[0].state.v_v.max()
    assert series.v_min_v[1].min() == views[1].state.v_v.min()
    assert series.transformer_p_kw[1].sum() == pytest.approx(views[1].state.transformer_p_kw.sum())
    assert series.vuf_pct[0] == views[0].state.vuf_pct.max()
