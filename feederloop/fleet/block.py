"""A block of feeders: built once where it is played, its state handed from slot to slot.

What is heavy (network models, the model of record) is a cache of the process that plays the block and follows
from the fleet alone; what a slot leaves to the next one is small and travels with the order and the outcome.
So a block can be played by any process at any time, and one that is lost loses nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Final

import numpy as np

from dso_engine.block_verified import BlockRecord, Promise
from dso_engine.bounds import directions_at_risk
from dso_engine.errors import PowerFlowDiverged
from dso_engine.feedback import Feedback
from dso_engine.feeder_slot import (
    FeederModel,
    FeederState,
    PlannedSlot,
    SettledSlot,
    SlotSettings,
    plan_slot,
    settle_slot,
)
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import MILLICENT_PER_EUR, Limits
from dso_engine.powerflow import stress, violations
from dso_engine.secant import SecantLaw
from dso_engine.trigger import Stress
from feederloop.fleet.generate import Fleet, SyntheticFeeder, make_feeder
from feederloop.fleet.homes import Devices, HomesState, SimulatedStreet, devices_of, homes_at_start
from feederloop.fleet.result import Condition, SlotResult
from feederloop.simulation.profiles import Profiles, load_profiles

__all__ = ["BlockOrder", "BlockOutcome", "BlockState", "forget_blocks", "play_block"]

_KEPT: Final = 256
"""Blocks a process keeps the models of; the one used longest ago goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockState:
    """What a slot leaves to the next one, of every feeder of a block."""

    feeders: tuple[FeederState, ...]
    homes: tuple[HomesState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOrder:
    """One slot of one block; holds all that is needed to play it anywhere."""

    fleet: Fleet
    first: int
    """Number of the first feeder."""
    count: int
    slot: datetime
    state: BlockState | None
    """From the slot before; None at the start of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOutcome:
    """What came of an order; times differ from run to run, the rest does not."""

    first: int
    slot: datetime
    state: BlockState
    results: tuple[SlotResult, ...]
    setup_cpu_s: float
    """Processor time of building the models, 0 where they were there."""
    slot_cpu_s: float
    built: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Block:
    """The models of a block."""

    feeders: tuple[SyntheticFeeder, ...]
    models: tuple[FeederModel, ...]
    record: BlockRecord
    devices: Devices
    settings: SlotSettings


@dataclass(slots=True, kw_only=True, eq=False)
class _Turn:
    """One feeder on its way through a slot."""

    feeder: SyntheticFeeder
    model: FeederModel
    state: FeederState
    street: SimulatedStreet
    label: str
    planned: PlannedSlot | None = None
    settled: SettledSlot | None = None
    fault: str | None = None


_blocks: OrderedDict[tuple[str, int, int], _Block] = OrderedDict()


def forget_blocks() -> None:
    """Drop the models this process keeps, so that the next order builds them again."""
    _blocks.clear()


def play_block(order: BlockOrder) -> BlockOutcome:
    """Play one slot of a block.

    Raises:
        InvalidFeeder: if a reference network cannot be used.
        ProfileError: if the slot lies outside the profiles' year, or they cannot be read.
    """
    begun = time.process_time()
    key = (order.fleet.digest, order.first, order.count)
    block = _blocks.pop(key, None)
    built = block is None
    block = block or _build(order)
    _blocks[key] = block
    while len(_blocks) > _KEPT:
        _blocks.popitem(last=False)
    between = time.process_time()
    state = order.state or _start(block)
    turns = _turns(block, state, order)
    _plan(turns, block)
    _settle(turns, block)
    outcome = BlockOutcome(
        first=order.first,
        slot=order.slot,
        state=BlockState(
            feeders=tuple(_next(turn, block.settings.limits) for turn in turns),
            homes=tuple(
                before if turn.settled is None else turn.street.after()
                for turn, before in zip(turns, state.homes, strict=True)
            ),
        ),
        results=tuple(_result(turn, order.slot, block.settings.limits) for turn in turns),
        setup_cpu_s=between - begun,
        slot_cpu_s=0.0,
        built=built,
    )
    return replace(outcome, slot_cpu_s=time.process_time() - between)


@cache
def _profiles() -> Profiles:
    return load_profiles()


def _build(order: BlockOrder) -> _Block:
    fleet, homes = order.fleet, len(_profiles().load_w)
    numbers = range(order.first, order.first + order.count)
    feeders = tuple(make_feeder(fleet, number, homes) for number in numbers)
    control, costs = fleet.neighbourhood.control, fleet.neighbourhood.costs
    return _Block(
        feeders=feeders,
        models=tuple(
            FeederModel(search=FixedPoint(each.network), with_switch=each.with_switch) for each in feeders
        ),
        record=BlockRecord([each.network for each in feeders]),
        devices=devices_of(fleet.neighbourhood),
        settings=SlotSettings(
            limits=Limits(
                guard_v=control.guard_voltage,
                guard_i=control.guard_current,
                arm_v=control.arm_voltage,
                release_v=control.release_voltage,
            ),
            law=SecantLaw(cap_millicent=round(control.max_price_eur_per_kwh * MILLICENT_PER_EUR)),
            feedback=Feedback(relax_below=1.0 - control.guard_voltage / Limits().v_band),
            mu_kw2=control.phase_mu_kw2,
            curvature_c_per_kwh2=costs.curvature_c_per_kwh2,
            reward_curvature_c_per_kwh2=costs.reward_curvature_c_per_kwh2,
        ),
    )


def _start(block: _Block) -> BlockState:
    return BlockState(
        feeders=tuple(
            FeederState(phases=tuple(int(phase) for phase in each.network.home_phase))
            for each in block.feeders
        ),
        homes=tuple(homes_at_start(each, block.devices) for each in block.feeders),
    )


def _turns(block: _Block, state: BlockState, order: BlockOrder) -> tuple[_Turn, ...]:
    return tuple(
        _Turn(
            feeder=feeder,
            model=model,
            state=own,
            street=SimulatedStreet(feeder, block.devices, _profiles(), homes, order.slot, order.fleet.seed),
            label=f"feeder {feeder.number}, {order.slot:%Y-%m-%d %H:%M}",
        )
        for feeder, model, own, homes in zip(
            block.feeders, block.models, state.feeders, state.homes, strict=True
        )
    )


def _plan(turns: Sequence[_Turn], block: _Block) -> None:
    """Auction to bounds of all feeders, then their verification in common."""
    for turn in turns:
        try:
            turn.planned = plan_slot(turn.model, turn.state, turn.street, block.settings, turn.label)
        except PowerFlowDiverged as err:
            turn.fault = str(err)
    _verify(turns, block, [() if turn.planned is None else turn.planned.promises for turn in turns])


def _settle(turns: Sequence[_Turn], block: _Block) -> None:
    """Prices of all feeders to the end of the slot, then the verification of the states they end in."""
    for turn in turns:
        if turn.planned is None:
            continue
        try:
            turn.settled = settle_slot(
                turn.model,
                turn.planned,
                turn.street,
                block.settings,
                turn.label,
                bounds_hold=turn.fault is None,
            )
        except PowerFlowDiverged as err:
            turn.fault = str(err)
    _verify(turns, block, [() if turn.settled is None else (turn.settled.promise,) for turn in turns])


def _verify(turns: Sequence[_Turn], block: _Block, promises: Sequence[tuple[Promise, ...]]) -> None:
    for turn, fault in zip(turns, block.record.faults(promises), strict=True):
        turn.fault = turn.fault or fault


def _next(turn: _Turn, limits: Limits) -> FeederState:
    """State for the next slot; a feeder that was not solved keeps its phases and its trigger."""
    planned, settled = turn.planned, turn.settled
    if planned is None:
        return replace(turn.state, last=None)
    phases = tuple(planned.phases.tolist())
    if settled is None:
        return FeederState(phases=phases, trigger=planned.trigger, price_was_zero=False)
    seen = stress(turn.feeder.network, settled.state, limits)
    idle = not any(settled.prices_millicent) and bool(np.isinf(settled.export_cap_kw).all())
    return FeederState(
        phases=phases,
        trigger=planned.trigger,
        last=Stress(v_dev=seen.v_dev_max, i_load=seen.thermal),
        price_was_zero=idle,
    )


def _result(turn: _Turn, slot: datetime, limits: Limits) -> SlotResult:
    network, planned, settled = turn.feeder.network, turn.planned, turn.settled
    result = SlotResult(
        feeder=turn.feeder.number,
        slot=slot,
        homes=len(network.homes),
        condition=Condition.UNSOLVED,
        fault=turn.fault,
    )
    if planned is None:
        return result
    result = replace(
        result,
        armed=planned.trigger.armed,
        traded_wh=planned.clearing.traded_wh,
        price_bid_millicent=planned.clearing.bid_price_millicent,
        switch_operations=planned.operations,
        relief_feasible=None if planned.bounds is None else planned.bounds.feasible,
    )
    if settled is None:
        return result
    before, after = (stress(network, each, limits) for each in (planned.state, settled.state))
    broken = len(violations(network, settled.state, limits, guard=False))
    near = bool(directions_at_risk(network, settled.state, limits))
    condition = Condition.BROKEN if broken else Condition.NEAR if near else Condition.CALM
    return replace(
        result,
        condition=condition,
        price_rounds=settled.rounds,
        prices_set=sum(u != 0 for u in settled.prices_millicent),
        price_low_millicent=min(settled.prices_millicent),
        price_high_millicent=max(settled.prices_millicent),
        curtailed_kw=turn.street.curtailed_kw,
        broken_before=len(violations(network, planned.state, limits, guard=False)),
        broken_after=broken,
        v_low_before=before.v_low_pu,
        v_high_before=before.v_high_pu,
        v_low=after.v_low_pu,
        v_high=after.v_high_pu,
        vuf_pct=float(settled.state.vuf_pct.max()),
        line_loading=after.line_loading,
        transformer_loading=after.transformer_loading,
        import_kw=float(settled.state.transformer_p_kw.sum()),
        verified=turn.fault is None,
    )
