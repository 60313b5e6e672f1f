"""The home behind a VEN: the only place that knows both OpenADR and the energy manager.

The times of the market hour are measured back from the delivery hour h: a report that is due 80 minutes
before h is its offer, one that is due 55 minutes before is its commitment, and one that is due 13 hours and
five minutes before a local day begins is the offer for that day's blocks (signals.md). Reports that are made
so late that the VTN would not take them are not made.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from schemas.oadr20b.enums import OptType
from schemas.oadr20b.errors import (
    ApplicationError,
    InvalidData,
    InvalidValue,
    SignalNotSupported,
    TargetMismatch,
)
from schemas.oadr20b.model import Event, Interval, Period, Report, ReportRequest
from ven_client.absence import Absences, OptSender
from ven_client.application import HeldEvent, ReportWindow, Verdict
from ven_client.devices import StaleReading
from ven_client.home import HomeManager
from ven_client.instructions import (
    DayAheadResult,
    ExportBound,
    Instruction,
    Instructions,
    MarketResult,
    PhasePlan,
    PricePath,
    Programmes,
)
from ven_client.programmes import unservable
from ven_client.reports import (
    MINUTE,
    Specifier,
    Value,
    block_values,
    commitment_values,
    interval,
    metadata,
    offer_values,
    only,
    status,
)
from ven_client.signals import understand
from ven_client.slots import DAY, HOUR, SLOT, complete_slots, day_start, hour_start
from ven_client.state import HomeMemory

__all__ = [
    "COMMITMENT_GATE_LEAD",
    "COMMITMENT_LEAD",
    "DAY_GATE_LEAD",
    "DAY_OFFER_LEAD",
    "GATE_LEAD",
    "OFFER_LEAD",
    "HomeApplication",
]

OFFER_LEAD: Final = timedelta(minutes=80)
GATE_LEAD: Final = timedelta(minutes=75)
COMMITMENT_LEAD: Final = timedelta(minutes=55)
COMMITMENT_GATE_LEAD: Final = timedelta(minutes=50)
"""How long before its hour a commitment is still taken: phases rest on it then."""
DAY_GATE_LEAD: Final = timedelta(hours=13)
DAY_OFFER_LEAD: Final = DAY_GATE_LEAD + timedelta(minutes=5)


class HomeApplication:
    """Implements :class:`ven_client.application.Application` for one home.

    Args:
        home: The energy manager.
        local_market: Market context of offers and commitments.
        switch_id: resourceID of the transfer switch, None without one.
        realtime_context: Market context of the real-time price, which tells its prices and export bounds from
            those of other programmes; None takes every context for it.
        day_ahead_market: Market context of offers for hourly blocks; None: the home makes none.

    Raises:
        ValueError: if the home has a switch without a resourceID or the other way round.
    """

    def __init__(
        self,
        home: HomeManager,
        *,
        local_market: str,
        switch_id: str | None = None,
        realtime_context: str | None = None,
        day_ahead_market: str | None = None,
    ) -> None:
        if home.has_switch != (switch_id is not None):
            raise ValueError("a transfer switch needs a resourceID, and only a switch has one")
        self._home, self._local_market, self._switch_id = home, local_market, switch_id
        self._realtime_context, self._day_ahead_market = realtime_context, day_ahead_market
        self._absences = Absences()
        self._understood: dict[str, tuple[HeldEvent, Instruction]] = {}

    def metadata(self, now: datetime) -> tuple[Report, ...]:
        """Return one metadata report per specifier."""
        return metadata(
            now,
            local_market=self._local_market,
            has_battery=self._home.parameters.battery is not None,
            switch_id=self._switch_id,
            day_ahead_market=self._day_ahead_market,
        )

    # --- events --------------------------------------------------------------------------------------------

    def judge(self, event: Event, now: datetime) -> Verdict:
        """Return what the home makes of an event.

        A market result is accepted if it keeps to the offer and its hour has not begun; declining it is no
        error. A phase command needs a switch it is for, an export bound something to curtail.
        """
        try:
            return self._judge(event, now)
        except ApplicationError as err:
            return Verdict(opt_type=OptType.OPT_OUT, code=err.code, description=err.description)
        except InvalidValue as err:
            return Verdict(opt_type=OptType.OPT_OUT, code=InvalidData.code, description=str(err))

    def _judge(self, event: Event, now: datetime) -> Verdict:
        instruction = understand(event.event, realtime_context=self._realtime_context)
        match instruction:
            case MarketResult() as result:
                if not self._home.fits(result):
                    raise InvalidData("the result does not keep to an offer of this home")
                if now >= result.hour:
                    return Verdict(opt_type=OptType.OPT_OUT, description="the hour has begun")
            case DayAheadResult() as result:
                if not self._home.fits(result):  # what fits stands, whenever it is heard of
                    raise InvalidData("the result does not keep to an offer of this home")
            case PhasePlan():
                if self._switch_id is None:
                    raise SignalNotSupported("this home has no transfer switch")
                if self._switch_id not in event.event.target.resource_ids:
                    raise TargetMismatch(f"the target is not {self._switch_id}")
            case ExportBound():
                if not self._home.has_pv and self._home.parameters.battery is None:
                    raise SignalNotSupported("this home has neither PV nor a battery")
            case Programmes(parts=parts):
                for reason in (unservable(part, self._home.parameters) for part in parts):
                    if reason is not None:
                        raise SignalNotSupported(reason)
            case PricePath():
                pass
        if self._absences.decline(instruction):
            return Verdict(opt_type=OptType.OPT_OUT, description="the home has opted out of this time")
        return Verdict(opt_type=OptType.OPT_IN)

    def events_changed(self, events: tuple[HeldEvent, ...], now: datetime) -> None:
        """Take all events the home opted in to as its instructions from now on."""
        understood = {}
        for held in events:
            if held.opt_type is OptType.OPT_IN:
                event_id = held.event.descriptor.event_id
                known = self._understood.get(event_id)  # of a set usually one event, the price, is new
                if known is None or known[0] is not held:
                    asked = understand(
                        held.event, held.start_offset_s, realtime_context=self._realtime_context
                    )
                    known = (held, asked)
                understood[event_id] = known
        self._understood = understood
        self._instruct(now)

    def _instruct(self, now: datetime) -> None:
        wanted = Instructions.of(one for _, one in self._understood.values())
        self._home.take(wanted.without(self._absences.spans), now)

    # --- opting out ----------------------------------------------------------------------------------------

    def opt_out(self, period: Period, sender: OptSender, now: datetime) -> str:
        """Opt out of a time (of all that comes if its duration is zero) and return the optID.

        The VTN is told by an oadrCreateOpt; the home makes no offers for that time, declines results, phase
        commands and programmes, and ignores the price. See :mod:`ven_client.absence`.

        Raises:
            NotRegistered: if there is no registration.
            HemsError: see :meth:`HomeManager.advance`.
        """
        opt_id = self._absences.add(period, sender, now)
        self._instruct(now)
        return opt_id

    def opt_in_again(self, sender: OptSender, now: datetime) -> None:
        """Take all opt-outs back that are not over.

        Raises:
            NotRegistered: if there is no registration.
            HemsError: see :meth:`HomeManager.advance`.
        """
        self._absences.cancel(sender)
        self._instruct(now)

    # --- reports -------------------------------------------------------------------------------------------

    def report(self, request: ReportRequest, window: ReportWindow, now: datetime) -> tuple[Interval, ...]:
        """Return the intervals of a report that is due, cut to the rIDs asked for; none on stale readings."""
        self._home.advance(now)
        r_ids = frozenset(payload.r_id for payload in request.specifier.payloads)
        try:
            return only(self._intervals(request.specifier.report_specifier_id, window, now), r_ids)
        except StaleReading:
            return ()

    def _intervals(self, specifier: str, window: ReportWindow, now: datetime) -> tuple[Interval, ...]:
        match specifier:
            case Specifier.OFFER:
                return self._offer(window.due + OFFER_LEAD, now)
            case Specifier.DAY_AHEAD:
                return self._blocks(window.due + DAY_OFFER_LEAD, now)
            case Specifier.COMMITMENT:
                return self._commitment(window.due + COMMITMENT_LEAD, now)
            case Specifier.METER_ENERGY:
                return self._energy(window)
            case Specifier.METER_POWER:
                return self._power(window, now)
            case Specifier.STORAGE:
                return self._storage(window)
            case Specifier.STATUS:
                return tuple(
                    status("status", slot, SLOT) for slot in complete_slots(window.start, window.end)
                )
            case Specifier.SWITCH:
                return self._switch(window, now)
        return ()

    def _offer(self, hour: datetime, now: datetime) -> tuple[Interval, ...]:
        """The offer for an hour; nothing if there is nothing to trade, or the gate is closed."""
        if hour_start(hour) != hour or now >= hour - GATE_LEAD or self._absences.covers(hour, hour + HOUR):
            return ()
        offer = self._home.offer(hour, now)
        return _per_slot(hour, offer_values(offer)) if any(offer.volume_wh) else ()

    def _blocks(self, day: datetime, now: datetime) -> tuple[Interval, ...]:
        """The offer for the blocks of a day, all 24; nothing if there is nothing to trade, or too late.

        A block in which the home is away has no volume.
        """
        if day_start(day) != day or now >= day - DAY_GATE_LEAD:
            return ()
        offer = self._home.block_offer(day, now)
        hours = [day + k * HOUR for k in range(DAY // HOUR)]
        volumes = tuple(
            0 if self._absences.covers(hour, hour + HOUR) else volume
            for hour, volume in zip(hours, offer.volume_wh, strict=True)
        )
        rows = zip(hours, block_values(replace(offer, volume_wh=volumes)), strict=True)
        return tuple(interval(hour, HOUR, of_block) for hour, of_block in rows) if any(volumes) else ()

    def _commitment(self, hour: datetime, now: datetime) -> tuple[Interval, ...]:
        if hour_start(hour) != hour or now >= hour - COMMITMENT_GATE_LEAD:
            return ()
        return _per_slot(hour, commitment_values(self._home.commitment(hour, now)))

    def _energy(self, window: ReportWindow) -> tuple[Interval, ...]:
        read = ((slot, self._home.energy_wh(slot)) for slot in complete_slots(window.start, window.end))
        return tuple(
            interval(slot, SLOT, (Value(r_id="energy", value=wh),)) for slot, wh in read if wh is not None
        )

    def _power(self, window: ReportWindow, now: datetime) -> tuple[Interval, ...]:
        minutes = complete_slots(window.start, window.end, MINUTE)
        read = ((minute, self._home.mean_w(minute, minute + MINUTE, now)) for minute in minutes)
        return tuple(
            interval(minute, MINUTE, (Value(r_id="power", value=w),)) for minute, w in read if w is not None
        )

    def _storage(self, window: ReportWindow) -> tuple[Interval, ...]:
        """Stored energy at the end of each slot, and the battery's power then."""
        read = ((slot, self._home.edge(slot + SLOT)) for slot in complete_slots(window.start, window.end))
        return tuple(
            interval(
                slot,
                SLOT,
                (
                    Value(r_id="stored-energy", value=round(edge.battery_kwh * 1000)),
                    Value(r_id="battery-power", value=round(edge.battery_kw * 1000)),
                ),
            )
            for slot, edge in read
            if edge is not None
        )

    def _switch(self, window: ReportWindow, now: datetime) -> tuple[Interval, ...]:
        """The phase after each change; without one the phase as it was (r317)."""
        changes = self._home.phase_changes(window.start, window.end)
        if changes:
            return tuple(status("phase", one.at, None, set_point=one.phase) for one in changes)
        phase = self._home.phase(now)
        return (status("phase", window.start, None, set_point=phase, changed=False),)

    # --- restart -------------------------------------------------------------------------------------------

    def memory(self, now: datetime) -> HomeMemory:
        """Return what must survive a restart (:class:`ven_client.state.Remembering`)."""
        return replace(self._home.memory(now), absences=self._absences.kept(now))

    def recall(self, memory: HomeMemory, now: datetime) -> None:
        """Take it back."""
        self._absences.recall(memory.absences)
        self._home.recall(memory, now)

    # --- time ----------------------------------------------------------------------------------------------

    def next_wakeup(self, now: datetime) -> datetime | None:
        """Return the next edge of a slot, or the next start or end of a price or bound."""
        return self._home.next_wakeup(now)

    def on_time(self, now: datetime) -> None:
        """Cross the edge of a slot, or follow a price or bound."""
        self._home.advance(now)


def _per_slot(hour: datetime, values: tuple[tuple[Value, ...], ...]) -> tuple[Interval, ...]:
    return tuple(interval(hour + k * SLOT, SLOT, of_slot) for k, of_slot in enumerate(values))
