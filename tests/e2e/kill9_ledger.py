"""What five VENs and an operator were told, and the comparison of a store with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from schemas.oadr20b.enums import OptType
from schemas.oadr20b.model import CreateReport, ReportRequest
from tests.unit.vtn.rig import START
from vtn_server.records import EventRecord
from vtn_server.sqlstore import open_store
from vtn_server.state import Reading, Ven, VenId
from vtn_server.store import Snapshot


@dataclass
class VenLedger:
    """What one VEN has sent, and what of it was answered. A set ``sent`` holds what may be there."""

    registration_id: str | None = None
    announced: bool = False
    accepted: set[str] = field(default_factory=set)
    opts: dict[str, tuple[int, OptType]] = field(default_factory=dict)
    opts_sent: set[tuple[str, int, OptType]] = field(default_factory=set)
    schedules: set[str] = field(default_factory=set)
    schedules_sent: set[str] = field(default_factory=set)
    schedules_cancelled: set[str] = field(default_factory=set)
    cancelling: str | None = None
    readings: dict[datetime, float] = field(default_factory=dict)
    readings_sent: dict[datetime, float] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    """The newest version of each event that came."""
    asked: set[int] = field(default_factory=set)
    """Days of the report requests that came."""
    replays: int = 0

    def see(self, event_id: str, number: int) -> None:
        """Note a version of an event."""
        self.seen[event_id] = max(number, self.seen.get(event_id, -1))


@dataclass
class Ledger:
    """What was answered to everybody.

    Attributes:
        events: The newest version of each event that the operator was told of.
        events_sent: The newest version it asked for.
        requested: Days of the report requests that were answered, and those asked for, by VEN.
    """

    vens: dict[str, VenLedger] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    events_sent: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    requested: dict[str, set[int]] = field(default_factory=dict)
    requested_sent: dict[str, set[int]] = field(default_factory=dict)

    def facts(self) -> int:
        """Return how many effects were answered so far."""
        vens = self.vens.values()
        return (
            sum(
                len(each.accepted) + len(each.opts) + len(each.schedules) + len(each.readings)
                for each in vens
            )
            + sum(each.registration_id is not None for each in vens)
            + sum(number + 1 for number in self.events.values())
            + sum(map(len, self.requested.values()))
        )

    def missing(self) -> tuple[str, ...]:
        """Return what the operator was told would be sent, and has not come to some VEN."""
        return tuple(
            f"{event_id} to {ven_id}"
            for ven_id, ven in self.vens.items()
            for event_id, number in self.events.items()
            if ven.seen.get(event_id, -1) < number
        ) + tuple(
            f"the request for day {day} to {ven_id}"
            for ven_id, days in self.requested.items()
            for day in days - self.vens[ven_id].asked
        )


def days_of(requests: Iterable[ReportRequest]) -> set[int]:
    """Return the days report requests are about; 0 is the one that the plan makes."""
    periods = (each.specifier.report_interval for each in requests)
    return {(each.dtstart - START).days for each in periods if each is not None}


async def compare(url: str, ledger: Ledger) -> None:
    """Assert that a store, whose VTN is dead, lost nothing that was answered and doubled nothing."""
    store = open_store(url)
    try:
        found = await store.load(datetime.min.replace(tzinfo=UTC))
        readings = await store.readings(
            report_specifier_id="meter-energy",
            start=START - timedelta(days=1),
            end=START + timedelta(days=900),
        )
    finally:
        await store.close()
    assert {each.ven_id for each in found.vens} >= set(ledger.vens)
    for ven in found.vens:
        _compare_ven(ven, ledger.vens.get(ven.ven_id, VenLedger()), ledger)
        _compare_readings(ven.ven_id, readings, ledger)
    _compare_events(found.events, ledger)
    _compare_opts(found, ledger)


def _compare_ven(ven: Ven, told: VenLedger, ledger: Ledger) -> None:
    if told.registration_id is not None:
        assert ven.registration is not None, f"{ven.ven_id} lost its registration"
        assert ven.registration.registration_id == told.registration_id
    schedules = Counter(each.opt_id for each in ven.schedules)
    assert set(schedules.values()) <= {1}, f"doubled schedules: {schedules}"
    maybe_gone = told.schedules_cancelled | {told.cancelling}
    assert told.schedules - maybe_gone <= set(schedules), "lost schedules"
    assert set(schedules) <= told.schedules_sent - told.schedules_cancelled, "cancelled, and there again"
    requests = {each.report_request_id: each for each in ven.requests}
    assert len(requests) == len(ven.requests), "doubled request ids"
    assert told.accepted <= {key for key, each in requests.items() if each.acknowledged}, "lost requests"
    days = Counter(
        (each.request.specifier.report_interval.dtstart - START).days
        for each in ven.requests
        if each.request.specifier.report_interval is not None
    )
    assert set(days.values()) <= {1}, f"doubled requests: {days}"
    assert ledger.requested.get(ven.ven_id, set()) <= set(days), "lost requests of the operator"
    assert set(days) <= {0} | ledger.requested_sent.get(ven.ven_id, set())
    queued = [each.message for each in ven.outbox if isinstance(each.message, CreateReport)]
    waiting = Counter(each.report_request_id for message in queued for each in message.requests)
    assert set(waiting.values()) <= {1}, "a request waits twice"
    assert {key for key, each in requests.items() if not each.acknowledged} == set(waiting)
    assert len({each.item_id for each in ven.outbox}) == len(ven.outbox)
    assert ven.given_up == ()


def _compare_readings(ven_id: str, readings: tuple[Reading, ...], ledger: Ledger) -> None:
    told = ledger.vens.get(ven_id, VenLedger())
    stored = {each.start: each.value for each in readings if each.ven_id == ven_id}
    assert told.readings.items() <= stored.items(), "lost readings"
    assert stored.items() <= told.readings_sent.items(), "readings nobody sent"


def _compare_events(events: tuple[EventRecord, ...], ledger: Ledger) -> None:
    stored = {each.event_id: each for each in events}
    assert ledger.events.keys() <= stored.keys() <= ledger.events_sent.keys(), "lost or invented events"
    for event_id, record in stored.items():
        newest = record.modification_number
        assert [each.modification_number for each in record.versions] == list(range(newest + 1))
        assert ledger.events.get(event_id, -1) <= newest <= ledger.events_sent[event_id]
        assert event_id not in ledger.cancelled or record.cancelled, "a cancellation was lost"
        for number, version in enumerate(record.versions):
            if not version.cancelled:
                assert {each.signal_value for each in version.signals[0].intervals} == {float(number)}


def _compare_opts(found: Snapshot, ledger: Ledger) -> None:
    stored = {(each.ven_id, each.event_id): each.opt for each in found.opts}
    assert len(stored) == len(found.opts)
    for (ven_id, event_id), opt in stored.items():
        assert (event_id, opt.modification_number, opt.opt_type) in ledger.vens[ven_id].opts_sent
    for name, told in ledger.vens.items():
        for event_id, (number, opt_type) in told.opts.items():
            kept = stored.get((VenId(name), event_id))
            assert kept is not None, f"lost the opt of {name} for {event_id}"
            assert kept.modification_number >= number, "lost a newer opt"
            assert kept.modification_number > number or kept.opt_type == opt_type, "lost an opt's type"
