"""The same home behind openleadr's client (0.5.36) instead of ours.

openleadr registers, polls, answers events and sends reports; the home decides. Left out is what it cannot
carry: reports with ``x-`` names (so such a home takes no part in the market) and randomised starts. Messages
are read once more with our codec, because openleadr guesses types. ``client.run()``, then ``start()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from openleadr import OpenADRClient

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, OptType, ReadingType
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.xmltypes import Duration
from ven_client.application import Application, HeldEvent, ReportWindow

__all__ = ["OpenleadrBackend"]

_USAGE: Final = "METADATA_TELEMETRY_USAGE"


class OpenleadrBackend:
    """Binds an openleadr client to a home; make it before ``client.run()``."""

    def __init__(self, client: OpenADRClient, application: Application, now: Callable[[], datetime]) -> None:
        self._client, self._application, self._now = client, application, now
        self._opts: dict[tuple[str, int], OptType] = {}
        self._held: tuple[HeldEvent, ...] = ()
        client.add_hook("before_parse_xml", self._received)
        client.add_handler("on_event", self._answer)
        client.add_handler("on_update_event", self._answer)
        for report in application.metadata(now()):
            if report.report_name == _USAGE:
                self._offer(report)

    def start(self) -> None:
        """Let the home act at its own instants, in the client's scheduler."""
        self._application.on_time(self._now())
        wakeup = self._application.next_wakeup(self._now())
        if wakeup is not None:
            self._client.scheduler.add_job(self.start, "date", run_date=wakeup, misfire_grace_time=60)

    def _received(self, content: str) -> None:
        """Take the events of a distribution before openleadr asks for the opts."""
        try:
            message = wire.read(content.encode())
        except WireError:
            return  # openleadr says what it thinks of it
        if isinstance(message, m.DistributeEvent):
            now = self._now()
            known = {held.event.descriptor.event_id: held for held in self._held}
            self._held = tuple(self._hold(event, known, now) for event in message.events if _runs(event))
            self._application.events_changed(self._held, now)

    def _hold(self, event: m.Event, known: Mapping[str, HeldEvent], now: datetime) -> HeldEvent:
        descriptor = event.event.descriptor
        key = (descriptor.event_id, descriptor.modification_number)
        if key not in self._opts:
            self._opts[key] = self._application.judge(event, now).opt_type
        before = known.get(descriptor.event_id)
        same = before is not None and before.event.descriptor.modification_number == key[1]
        received_at = before.received_at if before is not None and same else now
        return HeldEvent(event=event.event, received_at=received_at, opt_type=self._opts[key])

    async def _answer(self, event: Mapping[str, Any]) -> str:
        descriptor = event["event_descriptor"]
        key = (str(descriptor["event_id"]), int(descriptor["modification_number"]))
        return self._opts.get(key, OptType.OPT_IN).value  # a cancelled event is acknowledged with optIn (r36)

    def _offer(self, report: m.Report) -> None:
        for each in report.descriptions:
            assert each.item_base is not None  # r331
            assert each.sampling_rate is not None  # r333
            self._client.add_report(
                callback=self._reader(report.report_specifier_id, each.r_id),
                resource_id=report.report_specifier_id,
                report_specifier_id=report.report_specifier_id,
                r_id=each.r_id,
                measurement=each.item_base.kind.split(":")[1],
                report_type=each.report_type,
                report_duration=report.duration.timedelta() if report.duration else timedelta(hours=1),
                sampling_rate=each.sampling_rate.min_period.timedelta(),
                data_collection_mode="full",
            )

    def _reader(self, specifier_id: str, r_id: str) -> Callable[..., list[tuple[datetime, float]]]:
        def read(
            date_from: datetime, date_to: datetime, sampling_interval: timedelta
        ) -> list[tuple[datetime, float]]:
            specifier = m.ReportSpecifier(
                report_specifier_id=specifier_id,
                granularity=Duration.of(sampling_interval),
                report_back_duration=Duration.of(
                    date_to.replace(microsecond=0) - date_from.replace(microsecond=0)
                ),
                payloads=(m.SpecifierPayload(r_id=r_id, reading_type=ReadingType.NOT_APPLICABLE),),
            )
            request = m.ReportRequest(report_request_id="openleadr", specifier=specifier)
            window = ReportWindow(start=date_from, end=date_to, due=date_to)
            return [
                (interval.dtstart or date_from, payload.payload.value)
                for interval in self._application.report(request, window, self._now())
                for payload in interval.payloads
                if isinstance(payload, m.ReportPayload) and payload.r_id == r_id
                if isinstance(payload.payload, m.PayloadFloat)
            ]

        return read


def _runs(event: m.Event) -> bool:
    return event.event.descriptor.event_status not in (EventStatus.CANCELLED, EventStatus.COMPLETED)
