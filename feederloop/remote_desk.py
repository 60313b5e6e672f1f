"""A VTN in another process, over its operator API: :class:`dso_engine.gateway_desk.Desk` by HTTP.

What the gateway says in the terms of OpenADR goes over as the API's JSON and comes back as such; nothing is
decided here. Every way in which the VTN may be out of reach, or refuse, is one :class:`ExchangeFailed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from dso_engine.errors import ExchangeFailed
from dso_engine.gateway_desk import Change, EventState, Said, end_of
from feederloop.vtn_clock import VtnClock
from schemas.oadr20b.xmltypes import Duration
from vtn_server import api_batch_models as batch
from vtn_server import api_models as api
from vtn_server.api_routes import CLOCK, PREFIX
from vtn_server.api_signal_forms import signal_of, signal_out
from vtn_server.operator import EventDraft, EventOpt, Fetched
from vtn_server.state import VenId

__all__ = ["RemoteDesk"]

M = TypeVar("M", bound=api.Model)
_LIMIT: Final = 10_000
"""The most entries a reply holds."""
_MOMENT: Final = TypeAdapter(AwareDatetime)
_SHORTEST: Final = timedelta(seconds=1)


class RemoteDesk:
    """Implements :class:`dso_engine.gateway_desk.Desk`.

    Args:
        url: Of the operator API, such as ``http://127.0.0.1:8081``.
        token: What it bears.
        timeout_s: How long a reply may take.
        clock: Is compared with the VTN's time in each reply.
    """

    def __init__(
        self, url: str, token: str, *, timeout_s: float = 10.0, clock: VtnClock | None = None
    ) -> None:
        self._clock = clock
        self._base = url.rstrip("/") + PREFIX
        self._host = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    # --- Desk ----------------------------------------------------------------------------------------------

    async def known(self) -> frozenset[VenId]:
        """See :class:`Desk`.

        Raises:
            ExchangeFailed: also if the VTN has more VENs than one reply can hold.
        """
        found = await self._ask(api.VenList, "GET", "/vens", query={"limit": str(_LIMIT)})
        if found.total > len(found.vens):
            raise ExchangeFailed(f"{found.total} VENs, and a reply holds {len(found.vens)}")
        return frozenset(VenId(each.ven_id) for each in found.vens)

    async def publish(self, drafts: Sequence[EventDraft]) -> None:
        """See :class:`Desk`."""
        body = batch.EventBatch(events=tuple(_created(draft) for draft in drafts))
        await self._ask(batch.EventBatchOut, "POST", "/batch/events", body=body)

    async def modify(self, changes: Sequence[Change]) -> None:
        """See :class:`Desk`."""
        body = batch.EventChanges(
            changes=tuple(
                batch.EventChange(event_id=event_id, signals=tuple(signal_out(s) for s in signals))
                for event_id, signals in changes
            )
        )
        await self._ask(batch.EventBatchOut, "PATCH", "/batch/events", body=body)

    async def events(self, event_ids: Sequence[str]) -> Mapping[str, EventState]:
        """See :class:`Desk`."""
        found: dict[str, EventState] = {}
        for start in range(0, len(event_ids), _LIMIT):
            body = batch.EventQuery(event_ids=tuple(event_ids[start : start + _LIMIT]))
            reply = await self._ask(batch.EventStates, "POST", "/batch/events/query", body=body)
            found.update((each.event_id, _state(each)) for each in reply.events)
        return found

    async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """See :class:`Desk`."""
        return await self._readings({"report_specifier_id": specifier}, start, end)

    async def distinct(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """See :class:`Desk`."""
        return await self._readings({"report_specifier_id": specifier, "distinct": "true"}, start, end)

    async def opted_out(self, at: datetime) -> frozenset[VenId]:
        """See :class:`Desk`."""
        found = await self._ask(batch.AbsenceList, "GET", "/absences", query={"at": at.isoformat()})
        return frozenset(VenId(each) for each in found.ven_ids)

    async def compare_clocks(self) -> None:
        """Ask for little, so that the clocks are compared.

        Raises:
            ExchangeFailed: if there is no answer.
        """
        await self._ask(api.VenList, "GET", "/vens", query={"limit": "1"})

    # --- HTTP ----------------------------------------------------------------------------------------------

    async def _readings(self, wanted: Mapping[str, str], start: datetime, end: datetime) -> tuple[Said, ...]:
        """Return readings; what does not go into one reply is asked for in halves of the time."""
        query = {**wanted, "start": start.isoformat(), "end": end.isoformat(), "limit": str(_LIMIT)}
        found = await self._ask(api.ReadingList, "GET", "/readings", query=query)
        if found.total <= len(found.readings):
            return tuple(_said(each) for each in found.readings)
        if end - start <= _SHORTEST:
            raise ExchangeFailed(f"{found.total} readings at {start.isoformat()}, too many for a reply")
        middle = start + (end - start) / 2
        return (
            *await self._readings(wanted, start, middle),
            *await self._readings(wanted, middle, end),
        )

    async def _ask(
        self,
        answers: type[M],
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = MappingProxyType({}),
        body: api.Model | None = None,
    ) -> M:
        """Send one request and return the reply.

        Raises:
            ExchangeFailed: if there is none, it is a refusal, or it is not what the API says.
        """
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        data = None if body is None else body.model_dump_json(exclude_unset=True).encode()
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        sent = None if self._clock is None else self._clock.now()
        try:
            async with self._http.request(
                method, self._base + path, params=query, data=data, headers=headers, allow_redirects=False
            ) as response:
                if self._clock is not None and sent is not None:
                    self._clock.heard(sent, self._clock.now(), _told(response.headers.get(CLOCK)))
                text = await response.read()
                if response.status not in (200, 201):
                    raise ExchangeFailed(f"{method} {path}: {_reason(response.status, text)}")
                return answers.model_validate_json(text)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise ExchangeFailed(f"no answer from {self._host}: {str(err) or type(err).__name__}") from err
        except ValidationError as err:
            raise ExchangeFailed(
                f"{method} {path}: not what the API says ({err.error_count()} faults)"
            ) from err


def _told(header: str | None) -> datetime | None:
    """Return the VTN's time; None where it is not told, or is none."""
    try:
        return _MOMENT.validate_python(header)
    except ValidationError:
        return None


def _reason(status: int, text: bytes) -> str:
    try:
        error = api.ErrorOut.model_validate_json(text)
    except ValidationError:
        return f"HTTP status {status}"
    code = f" (OpenADR {error.oadr_code})" if error.oadr_code else ""
    faults = "".join(f"; {each.where}: {each.text}" for each in error.faults[:3])
    return f"{error.code}: {error.text}{code}{faults}"


# --- forms -------------------------------------------------------------------------------------------------


def _created(draft: EventDraft) -> api.EventCreate:
    target = {name: getattr(draft.target, name) for name in api.TargetModel.model_fields}
    return api.EventCreate(
        event_id=draft.event_id,
        market_context=draft.market_context,
        start=draft.dtstart,
        duration=str(draft.duration),
        signals=tuple(signal_out(each) for each in draft.signals),
        ven_ids=draft.audience,
        response_required=draft.response_required,
        priority=draft.priority,
        target=api.TargetModel(**target),
        notification=str(draft.notification),
        startafter=_text(draft.startafter),
        ramp_up=_text(draft.ramp_up),
        recovery=_text(draft.recovery),
        test_event=draft.test_event,
        comment=draft.comment,
    )


def _text(duration: Duration | None) -> str | None:
    return None if duration is None else str(duration)


def _state(event: batch.EventState) -> EventState:
    return EventState(
        event_id=event.event_id,
        dtstart=event.start,
        duration=Duration.parse(event.duration),
        audience=tuple(VenId(each) for each in event.audience),
        signals=tuple(signal_of(each) for each in event.signals),
        modification_number=event.modification_number,
        modified_at=event.version_at,
        fetched={
            VenId(each.ven_id): Fetched(modification_number=each.modification_number, at=each.at)
            for each in event.deliveries
        },
        opts={
            VenId(each.ven_id): EventOpt(
                opt_type=each.opt_type,
                code=each.code,
                modification_number=each.modification_number,
                at=each.at,
                qualified=each.qualified,
            )
            for each in event.opts
        },
    )


def _said(reading: api.ReadingOut) -> Said:
    return Said(
        ven_id=VenId(reading.ven_id),
        r_id=reading.r_id,
        start=reading.start,
        end=end_of(reading.start, None if reading.duration is None else Duration.parse(reading.duration)),
        value=reading.value,
        set_point=reading.set_point,
        received_at=reading.received_at,
    )
