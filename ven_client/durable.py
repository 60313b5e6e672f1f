"""A session that survives its process: what it must not lose goes out as a value and comes back. Pure.

Rules:

1. A message from the queue counts as outgoing until it is answered. So an oadrCreatedReport or an opt that
   was under way when the process died is sent again: all operations are idempotent (S 9.1.4).
2. oadrCreatedEvent is not kept: after a restart the VEN asks for the events first, and the set asks for the
   answers again (r12). The verdicts are kept, so the answers are the same.
3. A restored session does not register. It sends oadrRequestEvent, then what is outgoing, then report data,
   then it polls. Windows of reports that passed meanwhile are made up for.
4. If the home offers other reports than it had announced, it announces anew (r306). If the address of a push
   VEN has changed, it registers again with its ids (r405).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import TransportError
from ven_client.application import Application
from ven_client.opt import OptDraft
from ven_client.registration import State
from ven_client.session import Session
from ven_client.settings import VenConfig
from ven_client.state import RegistrationState, SentOpt, SessionState

__all__ = ["DurableSession"]

_ASKED_AGAIN: Final = (m.Poll, m.RequestEvent, m.CreatedEvent, m.UpdateReport, m.QueryRegistration)
"""Messages that are not kept: others take their place."""


_FAREWELL: Final = m.CanceledPartyRegistration
"""What is still owed to a VTN that has cancelled the registration."""


class DurableSession(Session):
    """See :class:`ven_client.session.Session`; adds :meth:`snapshot` and :meth:`restore`."""

    def __init__(
        self,
        config: VenConfig,
        application: Application,
        new_id: Callable[[], str],
        uniform: Callable[[float, float], float],
    ) -> None:
        super().__init__(config, application, new_id, uniform)
        self._in_flight: m.AnyMessage | None = None
        self._opts: dict[str, SentOpt] = {}

    @property
    def opts(self) -> tuple[SentOpt, ...]:
        """Opts that were sent and not cancelled."""
        return tuple(self._opts.values())

    def snapshot(self) -> SessionState:
        """Return what must be on disk before the next message leaves."""
        registration_id = self.registration_id
        if registration_id is None or self.state in (State.UNREGISTERED, State.REGISTERING):
            return SessionState(
                events=self._events.snapshot(),
                outgoing=tuple(each for each in self._outgoing() if isinstance(each, _FAREWELL)),
            )
        return SessionState(
            registration=RegistrationState(
                ven_id=self.ven_id or "",
                vtn_id=self._registration.vtn_id,
                registration_id=registration_id,
                operational=self.state is State.OPERATIONAL,
                poll_least=self._cadence.least,
                push_address=self.config.push_address,
            ),
            events=self._events.snapshot(),
            offers=self._reports.offers,
            jobs=self._reports.snapshot(),
            unsent=self._spool.snapshot(),
            opts=self.opts,
            outgoing=tuple(self._outgoing()),
        )

    def _outgoing(self) -> list[m.AnyMessage]:
        """Return the messages that are not answered yet, in order."""
        under_way = [] if self._in_flight is None else [self._in_flight]
        return under_way + [each for each in self._queue if not isinstance(each, _ASKED_AGAIN)]

    def restore(self, state: SessionState, now: datetime) -> None:
        """Go on where a former process stopped; the application has recalled its own part before.

        Without a registration only the events come back, until :meth:`begin` has led to a new one, and the
        answer to the cancellation of the last one, which goes out before anything else.
        """
        self._events.restore(state.events, now)
        kept = state.registration
        if kept is None:
            self._queue.extend(state.outgoing)
            return
        self._registration.resume(kept.ven_id, kept.vtn_id, kept.registration_id)
        self._move(State.REGISTERING)
        self._move(State.BOOTSTRAPPING)
        if kept.operational:
            self._move(State.OPERATIONAL)
        self._cadence.require(kept.poll_least)
        self._cadence.watch(self._events.spans)
        self._poll = m.Poll(ven_id=kept.ven_id)
        self._spool.restore(state.unsent)
        self._opts = {opt.message.opt_id: opt for opt in state.opts}
        self._opt_codes = {key: opt.code for key, opt in self._opts.items() if opt.code is not None}
        self._asked_events = True
        if not self.config.report_only:
            self._queue.append(self._request_event())
        self._queue.extend(state.outgoing)
        if not self._reports.restore(state.offers, state.jobs, now):
            self._announce(now, None)
        if kept.push_address != self.config.push_address:
            self._queue.append(self._registration.request(self._new_id(), now, new=False))
        self._cadence.at_once(now)

    # --- what the session does, watched ------------------------------------------------------------------

    def take(self, now: datetime) -> m.AnyMessage | None:
        """See :class:`Session`."""
        queued = bool(self._queue)
        message = super().take(now)
        kept = queued and not isinstance(message, _ASKED_AGAIN)
        self._in_flight = message if kept else None
        return message

    def on_reply(self, request: m.AnyMessage, reply: m.AnyMessage, now: datetime) -> None:
        """See :class:`Session`."""
        self._in_flight = None
        super().on_reply(request, reply, now)
        if isinstance(request, m.CreateOpt) and request.opt_id in self._opts:
            code = self.opt_code(request.opt_id)
            self._opts[request.opt_id] = SentOpt(message=request, code=code)

    def on_failure(self, request: m.AnyMessage, error: TransportError, now: datetime) -> None:
        """See :class:`Session`."""
        self._in_flight = None
        super().on_failure(request, error, now)

    def on_time(self, now: datetime) -> None:
        """See :class:`Session`; opts whose time is over are forgotten."""
        super().on_time(now)
        for opt_id in [key for key, opt in self._opts.items() if _is_over(opt, now)]:
            del self._opts[opt_id]

    def send_opt(self, opt: OptDraft, now: datetime) -> str:
        """See :class:`Session`."""
        opt_id = super().send_opt(opt, now)
        message = self._queue[-1]
        if isinstance(message, m.CreateOpt):
            self._opts[opt_id] = SentOpt(message=message, code=None)
        return opt_id

    def cancel_opt(self, opt_id: str) -> None:
        """See :class:`Session`."""
        super().cancel_opt(opt_id)
        self._opts.pop(opt_id, None)

    def _leave(self) -> None:
        super()._leave()
        self._opts.clear()
        self._in_flight = None


def _is_over(opt: SentOpt, now: datetime) -> bool:
    """Whether a schedule that was answered lies in the past; the opt of an event is kept for a day."""
    message = opt.message
    if opt.code is None:
        return False
    if message.availability is None:
        return now - message.created_date_time > timedelta(days=1)
    return all(
        not period.duration.is_zero and period.duration.after(period.dtstart) <= now
        for period in message.availability
    )
