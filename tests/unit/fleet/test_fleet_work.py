"""The driver of a fleet, with crews that are made up: orders, progress, and what ends a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest
from distributed import CancelledError, Client, KilledWorker

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_slot import FeederState
from feederloop.fleet import cluster
from feederloop.fleet.block import BlockOrder, BlockOutcome, BlockState
from feederloop.fleet.cluster import DaskCrew
from feederloop.fleet.homes import HomesState
from feederloop.fleet.result import Condition, SlotResult
from feederloop.fleet.work import FleetError, FleetPlan, Here, run_fleet
from tests.unit.fleet.fleet_rig import NOON, slot, small_fleet, small_plan


def outcome_of(order: BlockOrder) -> BlockOutcome:
    """What a block would say; its state counts the slots."""
    played = 0 if order.state is None else order.state.feeders[0].phases[0]
    state = BlockState(
        feeders=(FeederState(phases=(played + 1,)),) * order.count,
        homes=(HomesState(stored_kwh=(0.0,), flexible_kwh=(0.0,)),) * order.count,
    )
    results = tuple(
        SlotResult(feeder=number, slot=order.slot, homes=1, condition=Condition.CALM, price_rounds=played)
        for number in range(order.first, order.first + order.count)
    )
    return BlockOutcome(
        first=order.first,
        slot=order.slot,
        state=state,
        results=results,
        setup_cpu_s=0.5 if order.state is None else 0.0,
        slot_cpu_s=0.25,
        built=order.state is None,
    )


class LastInFirstOut:
    moves = 3

    def __init__(self) -> None:
        self.orders: list[BlockOrder] = []

    def submit(self, order: BlockOrder) -> None:
        self.orders.append(order)

    def next_outcome(self) -> BlockOutcome:
        return outcome_of(self.orders.pop())


def test_every_feeder_plays_every_slot_from_the_state_of_the_one_before() -> None:
    told: list[tuple[int, int]] = []
    plan = small_plan(feeders=5, slots=3, per_block=2)
    run = run_fleet(plan, LastInFirstOut(), lambda done, total: told.append((done, total)))
    assert [(each.slot, each.feeder, each.price_rounds) for each in run.results] == [
        (slot(k), feeder, k) for k in range(3) for feeder in range(5)
    ]
    assert told == [(done, 9) for done in range(10)]
    assert run.setup_cpu_s == pytest.approx(3 * 0.5)
    assert run.slot_cpu_s == pytest.approx(9 * 0.25)
    assert run.moved == 0


def test_blocks_are_as_large_as_asked_and_the_last_one_is_what_is_left() -> None:
    orders = small_plan(feeders=7, per_block=3).orders()
    assert [(each.first, each.count) for each in orders] == [(0, 3), (3, 3), (6, 1)]


def test_slots_are_utc_whatever_zone_the_start_is_in() -> None:
    plan = small_plan(start=NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert {order.slot for order in plan.orders()} == {NOON}
    assert all(order.slot.utcoffset() == timedelta(0) for order in plan.orders())


@pytest.mark.parametrize(
    "change",
    [
        {"feeders": 0},
        {"slots": 0},
        {"per_block": 0},
        {"start": datetime(2018, 5, 16, 12, 0)},  # noqa: DTZ001
        {"start": datetime(2018, 5, 16, 12, 1, tzinfo=UTC)},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, int]) -> None:
    values = {"feeders": 1, "slots": 1, "per_block": 1, "start": NOON, **change}
    with pytest.raises(ValueError, match="must be"):
        FleetPlan(fleet=small_fleet(), **values)  # type: ignore[arg-type]  # a mix of types


def test_nobody_is_waited_for_who_was_given_nothing() -> None:
    with pytest.raises(FleetError, match="no block is under way"):
        Here().next_outcome()


# --- Dask, as far as it can be without processes -----------------------------------------------------------


@dataclasses.dataclass(slots=True, eq=False)
class FakeFuture:
    """What came of an order, or the error that is raised instead."""

    answer: object

    def add_done_callback(self, call: Callable[[object], None]) -> None:
        call(self)

    def result(self) -> object:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class FakeClient:
    """Answers at once, from the workers that are given."""

    def __init__(self, *workers: str) -> None:
        self.workers = list(workers)
        self.asked: list[str] = []
        self.error: BaseException | None = None

    def scheduler_info(self, n_workers: int) -> dict[str, dict[str, None]]:
        assert n_workers == -1
        return {"workers": dict.fromkeys(self.workers)}

    def submit(self, play: object, order: BlockOrder, **how: object) -> FakeFuture:
        assert play is cluster._play_there
        assert how == {"pure": False, "workers": how["workers"], "allow_other_workers": True}
        (home,) = cast(list[str], how["workers"])
        self.asked.append(home)
        if self.error is not None:
            return FakeFuture(self.error)
        there = home if home in self.workers else self.workers[0]
        return FakeFuture(cluster._Played(worker=there, outcome=outcome_of(order)))


def crew_of(client: FakeClient) -> DaskCrew:
    return DaskCrew(cast(Client, client))


def test_blocks_go_round_the_workers_and_stay_where_they_were() -> None:
    client = FakeClient("tls://b", "tls://a")
    run = run_fleet(small_plan(feeders=3, slots=2, per_block=1), crew_of(client), lambda done, total: None)
    assert client.asked[:3] == ["tls://a", "tls://b", "tls://a"]
    assert sorted(client.asked[3:]) == ["tls://a", "tls://a", "tls://b"]
    assert run.moved == 0


def test_blocks_of_a_worker_that_is_gone_move_and_are_counted() -> None:
    client = FakeClient("tls://a", "tls://b")

    def lose(done: int, total: int) -> None:
        if done == 2:
            client.workers.remove("tls://b")

    run = run_fleet(small_plan(feeders=2, slots=3, per_block=1), crew_of(client), lose)
    assert run.moved == 1
    assert len(run.results) == 6


def test_no_worker_at_all_is_an_error() -> None:
    with pytest.raises(FleetError, match="no workers"):
        crew_of(FakeClient())


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KilledWorker("task", cast(Any, SimpleNamespace(address="tls://a")), 3), "lost with several workers"),
        (CancelledError("task"), "scheduler is lost"),
        (ConnectionResetError("gone"), "scheduler is lost: gone"),
    ],
)
def test_what_dask_gives_up_on_is_an_error_that_says_so(error: BaseException, says: str) -> None:
    client = FakeClient("tls://a")
    crew = crew_of(client)
    client.error = error
    with pytest.raises(FleetError, match=says):
        run_fleet(small_plan(), crew, lambda done, total: None)


def test_an_error_of_ours_comes_back_as_it_is() -> None:
    client = FakeClient("tls://a")
    client.error = InvalidFeeder("no tree")
    with pytest.raises(InvalidFeeder, match="no tree"):
        run_fleet(small_plan(), crew_of(client), lambda done, total: None)


def test_orders_are_not_waited_for_where_all_workers_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_LOOK_S", 0.001)
    monkeypatch.setattr(cluster, "_DESERTED_S", 0.002)
    client = FakeClient("tls://a")
    crew = crew_of(client)
    client.workers.clear()
    with pytest.raises(FleetError, match="no Dask worker"):
        crew.next_outcome()
