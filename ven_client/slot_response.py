"""The response of one slot with everything that programmes want of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ven_client.hems.model import HomeParameters
from ven_client.hems.respond import Response, SetPoint, SlotState, respond, respond_to_peak
from ven_client.programmes import NO_PROGRAMME, Situation

__all__ = ["Progress", "keep_limit", "slot_response"]

_SLACK_KWH: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a slot has come.

    Attributes:
        exchanged_kwh: Metered since its start, kWh, + import.
        left_h: Time left, h.
        reached_kw: Mean import of a slot that a peak price leaves free, kW.
    """

    exchanged_kwh: float
    left_h: float
    reached_kw: float


def slot_response(
    home: HomeParameters, state: SlotState, wanted: Situation, price_c_per_kwh: float, progress: Progress
) -> tuple[SlotState, Response]:
    """The state as programmes change it, and the best response in it.

    A limit in kW is a limit to the energy of the time that is left: what was exchanged before it came stands.
    A battery target that does not leave the exchange within its limits is dropped (programmes, rule 4).

    Args:
        home: Devices, contract and curvatures.
        state: What the home knew at the start of the slot.
        wanted: What programmes want.
        price_c_per_kwh: The real-time price, on top of the tariff.
        progress: How far the slot has come.
    """
    if wanted == NO_PROGRAMME:
        return state, respond(home, state, price_c_per_kwh)
    changed = _changed(home, state, wanted, progress)
    response = _answer(home, changed, wanted, price_c_per_kwh, progress)
    if changed.e_target_kwh is not None and not _within(changed, response):
        changed = replace(changed, e_target_kwh=None)
        response = _answer(home, changed, wanted, price_c_per_kwh, progress)
    return changed, response


def keep_limit(
    home: HomeParameters, point: SetPoint, response: Response, done_kwh: float, left_h: float
) -> SetPoint:
    """The set point with the battery doing what the flexible load's power cannot in the time that is left.

    Args:
        home: Devices.
        point: Powers that bring each device to its energy, within its own power.
        response: Energies wanted for the whole slot.
        done_kwh: What battery and flexible load have given since its start, kWh.
        left_h: Time left, h.
    """
    if left_h <= 0.0 or home.battery is None:
        return point
    total_kw = (response.battery_kwh + response.flexible_kwh - done_kwh) / left_h
    limit = home.battery.power_kw
    return replace(point, battery_kw=min(max(total_kw - point.flexible_kw, -limit), limit))


def _changed(home: HomeParameters, state: SlotState, wanted: Situation, progress: Progress) -> SlotState:
    changed = state
    if wanted.up_c_per_kwh is not None and wanted.down_c_per_kwh is not None:
        changed = replace(
            changed, price_up_c_per_kwh=wanted.up_c_per_kwh, price_down_c_per_kwh=wanted.down_c_per_kwh
        )
    if wanted.frees_battery and home.battery is not None:
        whole = 2.0 * home.battery.slot_limit_kwh
        changed = replace(changed, charge_allotment_kwh=whole, discharge_allotment_kwh=whole)
    low, high = (
        None if kw is None else progress.exchanged_kwh + kw * progress.left_h
        for kw in (wanted.low_kw, wanted.high_kw)
    )
    return replace(changed, x_low_kwh=low, x_high_kwh=high, e_target_kwh=wanted.stored_kwh)


def _answer(
    home: HomeParameters, state: SlotState, wanted: Situation, price_c_per_kwh: float, progress: Progress
) -> Response:
    return respond_to_peak(
        home,
        state,
        price_c_per_kwh,
        peak_c_per_kw=wanted.peak_c_per_kw,
        reached_kw=progress.reached_kw,
    )


def _within(state: SlotState, response: Response) -> bool:
    low, high = state.x_low_kwh, state.x_high_kwh
    return (low is None or response.x_kwh >= low - _SLACK_KWH) and (
        high is None or response.x_kwh <= high + _SLACK_KWH
    )
