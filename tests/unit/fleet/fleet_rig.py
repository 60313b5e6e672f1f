"""Small fleets for tests: few homes, so that a block is built in a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from config.settings import data_path, load_neighbourhood
from dso_engine.feeder_file import read_network_file
from feederloop.fleet.generate import Fleet
from feederloop.fleet.work import FleetPlan

NOON = datetime(2018, 5, 16, 11, 0, tzinfo=UTC)


def reference_names() -> tuple[str, ...]:
    return ("lv_33h_17pv", "lv_50h_rural")


def small_fleet(*, seed: int = 2, homes_min: int = 6, homes_max: int = 12) -> Fleet:
    """Homes of all kinds on two networks; some of the feeders are in trouble at noon."""
    return Fleet(
        references=tuple(
            read_network_file(data_path("networks", f"{name}.json")) for name in reference_names()
        ),
        neighbourhood=load_neighbourhood(),
        seed=seed,
        homes_min=homes_min,
        homes_max=homes_max,
        reach_min=1.5,
        reach_max=4.0,
        pv_share_min=0.3,
        pv_share_max=0.8,
        pv_kwp_min=5.0,
        pv_kwp_max=12.0,
    )


def small_plan(*, feeders: int = 4, slots: int = 2, per_block: int = 2, start: datetime = NOON) -> FleetPlan:
    return FleetPlan(fleet=small_fleet(), feeders=feeders, start=start, slots=slots, per_block=per_block)


def slot(number: int) -> datetime:
    return NOON + number * timedelta(minutes=10)
