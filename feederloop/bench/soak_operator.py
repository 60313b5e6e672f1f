"""What an operator does to the VTN of a soak: events come, change and go, VENs are asked for things."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Final

from feederloop.bench.grounds import now
from feederloop.bench.messages import R_ID, SPECIFIER
from schemas.oadr20b.enums import EventStatus, ResponseRequired, SignalName, SignalType
from schemas.oadr20b.errors import ApplicationError
from schemas.oadr20b.model import EventSignal, Interval
from schemas.oadr20b.units import EUR_PER_KWH
from schemas.oadr20b.xmltypes import Duration
from vtn_server.event import status
from vtn_server.operator import EventDraft, Operator, ReportRequestDraft, VenId

__all__ = ["SoakOperator"]

_MOST_OPEN: Final = 12
_OVER: Final = (EventStatus.COMPLETED, EventStatus.CANCELLED)


class SoakOperator:
    """Does one thing at a time, at random.

    Args:
        operator: The VTN.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._rng = random.Random(1)
        self._count = 0

    async def act(self) -> str:
        """Do one thing; return what, or why it was refused."""
        vens = [each.ven_id for each in self._operator.vens() if each.registered]
        open_ = [each.event_id for each in self._operator.events() if status(each, now()) not in _OVER]
        kind = self._rng.choice(("publish", "modify", "modify", "cancel", "ask", "stop", "recall", "look"))
        try:
            return await self._do("publish" if not open_ else kind, vens, open_)
        except ApplicationError as err:
            return f"{kind}, refused with {err.code}"

    async def ask(self, ven_id: str) -> str:
        """Ask a VEN for reports; return what came of it."""
        try:
            await self._operator.request_reports(VenId(ven_id), [_WANTED])
        except ApplicationError as err:
            return f"ask, refused with {err.code}"
        return "ask"

    async def _do(self, kind: str, vens: list[VenId], open_: list[str]) -> str:
        operator, rng = self._operator, self._rng
        if not vens:
            return "nobody is there"
        ven_id = rng.choice(vens)
        if kind == "publish" and len(open_) < _MOST_OPEN:
            await operator.publish_events([self._draft(vens)])
        elif kind == "modify":
            event_id = rng.choice(open_)
            record = operator.event(event_id)
            if record is not None:
                await operator.modify_event(event_id, signals=self._signals(record.duration))
        elif kind in ("cancel", "publish"):
            kind = "cancel"
            await operator.cancel_event(rng.choice(open_))
        elif kind == "ask":
            await operator.request_reports(ven_id, [_WANTED])
        elif kind == "stop":
            view = operator.ven(ven_id)
            ids = [] if view is None else [each.report_request_id for each in view.requests]
            await operator.cancel_reports(ven_id, ids[:1])
        elif kind == "recall":
            await operator.request_reregistration(ven_id)
        else:
            operator.stats()
        return kind

    def _draft(self, vens: list[VenId]) -> EventDraft:
        self._count += 1
        duration = Duration(minutes=self._rng.randint(1, 5))
        return EventDraft(
            event_id=f"soak-{self._count}-{now():%H%M%S}",
            market_context="http://feederloop.example/soak",
            dtstart=now().replace(microsecond=0) + timedelta(seconds=5),
            duration=duration,
            signals=self._signals(duration),
            audience=tuple(sorted(self._rng.sample(vens, 1 + len(vens) // 2))),
            response_required=self._rng.choice((ResponseRequired.ALWAYS, ResponseRequired.NEVER)),
        )

    def _signals(self, duration: Duration) -> tuple[EventSignal, ...]:
        return (
            EventSignal(
                intervals=(Interval.of_signal(0, duration, self._rng.random()),),
                signal_name=SignalName.ELECTRICITY_PRICE,
                signal_type=SignalType.PRICE,
                signal_id="price",
                item_base=EUR_PER_KWH,
            ),
        )


_WANTED: Final = ReportRequestDraft(
    report_specifier_id=SPECIFIER,
    r_ids=(R_ID,),
    granularity=Duration(minutes=1),
    report_back_duration=Duration(hours=1),
    start=now().replace(microsecond=0, second=0, minute=0),
)
