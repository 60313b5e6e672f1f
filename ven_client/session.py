"""The OpenADR session of a VEN: which message goes next, and what a reply means. Sans I/O.

The shell calls :meth:`Session.on_time` when something is due, then sends what :meth:`Session.take` returns,
one message at a time, giving each outcome back through :meth:`Session.on_reply` or
:meth:`Session.on_failure`, until there is nothing to take before :meth:`Session.next_due`.

States (section 1.4)::

    UNREGISTERED   knows no VTN; sends nothing but registrations and the answer to a cancellation
    REGISTERING    oadrQueryRegistration or oadrCreatePartyRegistration is under way
    BOOTSTRAPPING  registered: oadrRegisterReport -> poll -> the VTN's oadrRegisterReport ->
                   oadrRegisteredReport -> oadrRequestEvent -> polls until oadrResponse
    OPERATIONAL    polls, answers, reports

Rules:

1. What is taken, in this order: answers and requests in the order they came up; report data; a due poll.
2. A VTN that has no metadata to announce answers the first poll with oadrResponse: the bootstrap goes on.
3. Whoever cancels the registration, everything about the peer is forgotten (r407). Code 463, or 452 to a
   poll, means that the VTN does not know this VEN (any more): it registers anew, and keeps its events until
   the new registration brings the complete set. Two registrations are ``registration_retry`` apart.
4. After a transport error it sends oadrRequestEvent next, for the lost reply may have carried events, then
   what could not be delivered. Answers to events are not repeated: the new set asks for them again. Report
   data waits in the spool. A message that the VTN refuses with an HTTP status is given up: at once if the
   status says that repeating is pointless, else after some attempts (section 2.2).
5. A push VEN never polls: the VTN's messages come through :meth:`Session.receive`, which returns the reply of
   the same exchange. It is operational when its metadata and its oadrRequestEvent are answered; before it is
   registered it refuses what a VTN posts (463, r405).
6. A wrong venID or vtnID in a message is answered with 452 in the reply type that fits (r21, r35, r304).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import ApplicationError, InvalidId, NotRegistered, TransportError
from ven_client.answers import answer
from ven_client.application import Application, HeldEvent
from ven_client.event_book import EventBook
from ven_client.messages import code_of, is_success, replies_to
from ven_client.opt import OptDraft
from ven_client.polling import Cadence
from ven_client.receiving import is_logical_reply, refusal
from ven_client.refusals import Refusals
from ven_client.registration import NEXT, Registration, State
from ven_client.report_book import ReportBook
from ven_client.settings import VenConfig
from ven_client.spool import Spool

__all__ = ["Session", "State"]

_ANY_POLL: Final = m.Poll(ven_id="")


class Session:
    """One VEN's side of the protocol.

    Args:
        config: What the VEN was told at installation.
        application: The home behind it.
        new_id: Returns a new id at each call (requestIDs, optIDs).
        uniform: Returns a number between its two arguments at random (jitter, randomised starts).
    """

    def __init__(
        self,
        config: VenConfig,
        application: Application,
        new_id: Callable[[], str],
        uniform: Callable[[float, float], float],
    ) -> None:
        self.config = config
        self._application = application
        self._new_id = new_id
        self._is_push = config.push_address is not None
        self._cadence = Cadence(config, uniform)
        self._events = EventBook(config, application, uniform)
        self._spool = Spool(config.spool_points)
        self._reports = ReportBook(application, self._spool)
        self._state = State.UNREGISTERED
        self._queue: deque[m.AnyMessage] = deque()
        self._registration = Registration(config)
        self._asked_events = False
        self._poll: m.Poll | None = None
        self._refusals = Refusals(config.request_attempts)
        self._opt_codes: dict[str, str] = {}
        self.protocol_faults = 0
        """Replies of a type that does not fit the request."""

    # --- what others may look at -------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def ven_id(self) -> str | None:
        """The venID, preconfigured or given by the VTN."""
        return self._registration.ven_id

    @property
    def registration_id(self) -> str | None:
        """The registrationID while registered."""
        return self._registration.registration_id

    @property
    def events(self) -> tuple[HeldEvent, ...]:
        """The events that are held."""
        return self._events.held

    @property
    def pending_reports(self) -> tuple[str, ...]:
        """Report requests with something still due."""
        return self._reports.pending

    @property
    def unsent_reports(self) -> tuple[m.Report, ...]:
        """Report data that the VTN has not taken yet, oldest first."""
        return self._spool.reports

    # --- driving -----------------------------------------------------------------------------------------

    def begin(self, now: datetime) -> None:
        """Register as soon as possible."""
        self._registration.at = now

    @property
    def next_inner(self) -> datetime | None:
        """When :meth:`on_time` has something to do, whether or not the VTN can be reached."""
        reports = self._reports.next_due if self._state is not State.UNREGISTERED else None
        return _first(reports, self._events.next_end)

    def next_send(self, now: datetime) -> datetime | None:
        """Return when :meth:`take` has something to send."""
        if self._queue or (self._state is State.OPERATIONAL and len(self._spool)):
            return now
        return self._registration.at if self._state is State.UNREGISTERED else self._cadence.due

    def next_due(self, now: datetime) -> datetime | None:
        """Return the earlier of :attr:`next_inner` and :meth:`next_send`."""
        return _first(self.next_inner, self.next_send(now))

    def on_time(self, now: datetime) -> None:
        """Let events run out and make the reports that are due.

        Raises:
            InvalidValue: if the application gives only some intervals of a report a dtstart or a duration.
        """
        self._events.expire(now)
        if (due := self._reports.next_due) is not None and due <= now:
            for request_id in self._reports.run(now):
                self._announce(now, request_id)

    def take(self, now: datetime) -> m.AnyMessage | None:
        """Return the next message to send, None if there is nothing to send now."""
        if self._queue:
            return self._queue.popleft()
        if self._state is State.UNREGISTERED:
            at = self._registration.at
            return self._register(now) if at is not None and now >= at else None
        if self._state is State.OPERATIONAL and (batch := self._spool.batch()):
            return m.UpdateReport(request_id=self._new_id(), reports=batch, ven_id=self.ven_id)
        if self._cadence.due is not None and now >= self._cadence.due:
            return self._poll
        return None

    def on_reply(self, request: m.AnyMessage, reply: m.AnyMessage, now: datetime) -> None:
        """Take the reply to a message."""
        self._refusals.answered(request)
        code = code_of(reply)
        if type(reply) not in replies_to(request):
            self.protocol_faults += 1
        if isinstance(request, m.QueryRegistration):
            self._on_queried(now)
        elif isinstance(request, m.CreatePartyRegistration) and self._state is not State.UNREGISTERED:
            self._on_registration(request, reply, now)
        elif isinstance(request, m.CancelPartyRegistration):
            self._forget(None, now)
        elif self._state is State.UNREGISTERED:
            return  # an answer to our oadrCanceledPartyRegistration, or crossed by a pushed cancellation
        elif code == NotRegistered.code or (isinstance(request, m.Poll) and code == InvalidId.code):
            self._lost(now)
        elif isinstance(request, m.Poll):
            self._on_polled(reply, now)
        elif isinstance(request, m.RequestEvent):
            if isinstance(reply, m.DistributeEvent):
                self._answer(reply, now)
            self._cadence.at_once(now)
            self._ready()
        elif isinstance(request, m.RegisterReport):
            self._on_registered_report(reply, now)
        elif isinstance(request, m.UpdateReport):
            self._reports.updated(request, reply, now)
        elif isinstance(request, m.CreateOpt | m.CancelOpt):
            self._opt_codes[request.opt_id] = code or ""

    def receive(self, message: m.AnyMessage, now: datetime) -> m.AnyMessage | None:
        """Take a message the VTN posted; return the reply of the exchange, None for an empty one (G15)."""
        if self._state in (State.UNREGISTERED, State.REGISTERING):
            return refusal(message, NotRegistered("this VEN is not registered (r405)"), self.ven_id)
        if is_logical_reply(message):
            return None  # a late answer to what was answered in its own exchange
        if isinstance(message, m.DistributeEvent):
            self._answer(message, now)
            return None
        answers = answer(message, self._registration.identity, self._events, self._reports, now)
        self._consequences(message, answers, now)
        return answers[0] if answers else None

    def on_failure(self, request: m.AnyMessage, error: TransportError, now: datetime) -> None:
        """Take note that a message was not answered; see rule 4."""
        give_up = self._refusals.is_hopeless(request, error)
        if self._state is State.REGISTERING:
            self._move(State.UNREGISTERED)
            self._registration.at = now + self.config.registration_retry if give_up else now
            return
        if isinstance(request, m.UpdateReport):
            if give_up:
                self._reports.answered(request, None if len(request.reports) == 1 else str(error.http_status))
        elif not isinstance(request, m.Poll | m.RequestEvent | m.CreatedEvent) and not give_up:
            self._queue.appendleft(request)
        if self._state is State.UNREGISTERED:
            return
        asked = any(isinstance(message, m.RequestEvent) for message in self._queue)
        refused = isinstance(request, m.RequestEvent) and give_up
        if not (asked or refused or self.config.report_only):
            self._queue.appendleft(self._request_event())
        if give_up and (refused or self.config.report_only):
            self._ready()
        self._cadence.at_once(now)

    # --- what the operator of the VEN may ask for --------------------------------------------------------

    def send_opt(self, opt: OptDraft, now: datetime) -> str:
        """Queue an opt and return its optID.

        Raises:
            NotRegistered: if there is no registration.
        """
        opt_id = self._new_id()
        self._queue.append(opt.message(opt_id, self._new_id(), self._registration.require_ven_id(), now))
        return opt_id

    def cancel_opt(self, opt_id: str) -> None:
        """Queue the cancellation of a schedule (r204).

        Raises:
            NotRegistered: if there is no registration.
        """
        ven_id = self._registration.require_ven_id()
        self._opt_codes.pop(opt_id, None)
        self._queue.append(m.CancelOpt(request_id=self._new_id(), opt_id=opt_id, ven_id=ven_id))

    def opt_code(self, opt_id: str) -> str | None:
        """Return the code the VTN gave to the last message about an opt, None while there is no answer."""
        return self._opt_codes.get(opt_id)

    def cancel_registration(self) -> None:
        """Queue the end of the registration; nothing follows until :meth:`begin`.

        Raises:
            NotRegistered: if there is no registration.
        """
        self._queue.append(self._registration.cancellation(self._new_id()))

    # --- registration ------------------------------------------------------------------------------------

    def _move(self, to: State) -> None:
        if to not in NEXT[self._state]:
            raise AssertionError(f"{self._state} -> {to} is not in the table")
        self._state = to

    def _register(self, now: datetime) -> m.AnyMessage:
        self._move(State.REGISTERING)
        if self.config.query_first and not self._registration.queried:
            return m.QueryRegistration(request_id=self._new_id())
        return self._registration.request(self._new_id(), now, new=True)

    def _on_queried(self, now: datetime) -> None:
        self._registration.queried = True  # whatever came: the registration itself will tell
        self._move(State.UNREGISTERED)
        self._registration.at = now

    def _on_registration(
        self, request: m.CreatePartyRegistration, reply: m.AnyMessage, now: datetime
    ) -> None:
        try:
            least = self._registration.accept(request, reply)
        except ApplicationError:
            self._lost(now)
            return
        self._cadence.require(least)
        self._poll = m.Poll(ven_id=self._registration.require_ven_id())
        if request.registration_id is None:
            self._move(State.BOOTSTRAPPING)
            self._asked_events = self.config.report_only
            self._announce(now, None)

    def _announce(self, now: datetime, report_request_id: str | None) -> None:
        self._queue.append(
            m.RegisterReport(
                request_id=self._new_id(),
                reports=self._reports.announce(now),
                ven_id=self.ven_id,
                report_request_id=report_request_id,
            )
        )

    def _lost(self, now: datetime) -> None:
        """The VTN does not know us: register anew, but not in a busy loop."""
        self._leave()
        self._registration.retry(now)

    def _forget(self, rejoin_at: datetime | None, now: datetime) -> None:
        """The registration was cancelled: nothing about the peer is kept (r407)."""
        self._leave()
        self._registration.at = rejoin_at
        self._events.clear(now)

    def _ready(self) -> None:
        """A push VEN has done its part of the bootstrap (rule 5); a pull VEN's ends with the first drain."""
        if self._is_push and self._state is State.BOOTSTRAPPING:
            self._move(State.OPERATIONAL)

    def _leave(self) -> None:
        if self._state is not State.UNREGISTERED:
            self._move(State.UNREGISTERED)
        self._registration.forget()
        self._queue.clear()
        self._reports.clear()
        self._cadence.stop()
        self._poll = None

    # --- items and replies -------------------------------------------------------------------------------

    def _request_event(self) -> m.RequestEvent:
        return m.RequestEvent(request_id=self._new_id(), ven_id=self.ven_id or "")

    def _answer(self, item: m.AnyMessage, now: datetime) -> tuple[m.AnyMessage, ...]:
        answers = answer(item, self._registration.identity, self._events, self._reports, now)
        self._queue.extend(answers)
        if isinstance(item, m.DistributeEvent):
            self._cadence.watch(self._events.spans)
        return answers

    def _on_polled(self, item: m.AnyMessage, now: datetime) -> None:
        if isinstance(item, m.Response) or type(item) not in replies_to(_ANY_POLL):
            self._answer(item, now)
            self._drained(now)
            return
        self._consequences(item, self._answer(item, now), now)

    def _consequences(self, item: m.AnyMessage, answers: tuple[m.AnyMessage, ...], now: datetime) -> None:
        """Do what follows an item besides its answers."""
        self._cadence.item(now)
        accepted = all(is_success(code_of(message)) for message in answers)
        if isinstance(item, m.RegisterReport):
            self._ask_events()
        elif isinstance(item, m.CreateReport) and accepted:
            self.on_time(now)  # what was asked for once is due now, after the answer (r324)
        elif isinstance(item, m.RequestReregistration) and accepted:
            self._queue.append(self._registration.request(self._new_id(), now, new=False))
        elif isinstance(item, m.CancelPartyRegistration) and accepted:
            after = self.config.rejoin_after
            self._forget(None if after is None else now + after, now)
            if not self._is_push:
                self._queue.extend(answers)

    def _drained(self, now: datetime) -> None:
        self._cadence.empty(now)
        if self._state is State.BOOTSTRAPPING and self._asked_events:
            self._move(State.OPERATIONAL)
        else:
            self._ask_events()

    def _ask_events(self) -> None:
        if not self._asked_events:
            self._asked_events = True
            self._queue.append(self._request_event())

    def _on_registered_report(self, reply: m.AnyMessage, now: datetime) -> None:
        if self._state is State.BOOTSTRAPPING:
            self._cadence.at_once(now)
            if self._is_push and not self._asked_events:
                self._ask_events()
            else:
                self._ready()  # report only
        if isinstance(reply, m.RegisteredReport) and is_success(reply.response.code) and reply.requests:
            # requests on the back of a reply are taken like an oadrCreateReport (r344)
            self._answer(m.CreateReport(request_id=reply.response.request_id, requests=reply.requests), now)
            self.on_time(now)


def _first(*times: datetime | None) -> datetime | None:
    return min((when for when in times if when is not None), default=None)
