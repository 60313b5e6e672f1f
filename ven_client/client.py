"""The shell of a VEN: runs a session over a transport, in the time of a clock.

At each wake, in this order: what the application wants done, the reports that are due, then messages until
there is nothing to send. After a failed exchange nothing is sent until the back-off is over, but the home
and its reports go on; trouble with certificates is no different, only logged as an error, for it needs
somebody to see to it. Cancelling the task that runs :meth:`VenClient.run` is safe at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from schemas.oadr20b.errors import TransportError
from schemas.oadr20b.model import AnyMessage
from ven_client.application import Application
from ven_client.keeping import Keeper
from ven_client.link import CLEAR, LinkState, Trouble
from ven_client.messages import is_success, response_of, service_of
from ven_client.nap import Nap
from ven_client.ports import Clock, Transport
from ven_client.session import Session, State

__all__ = ["BackOff", "VenClient"]

_LOG = logging.getLogger(__name__)
_REGISTERING_S: Final = 5.0
"""How long a message of the VTN waits for the reply to our registration, wall time."""
_IDLE: Final = timedelta(hours=1)
"""How long to sleep when nothing at all is due: an unregistered VEN that is not to join again."""


class BackOff:
    """Truncated binary exponential back-off with 10 % jitter.

    Args:
        rng: Source of the jitter.
        first_s: The first delay, seconds.
        cap_s: The longest delay before jitter, seconds.

    Source: S 9.1.7.
    """

    def __init__(self, rng: random.Random, *, first_s: float = 1.0, cap_s: float = 64.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._cap_s = cap_s
        self._failures = 0

    def reset(self) -> None:
        """Forget former failures."""
        self._failures = 0

    def next(self) -> timedelta:
        """Return the delay after one more failure."""
        delay_s = min(self._cap_s, self._first_s * 2 ** min(self._failures, 32))
        self._failures += 1
        return timedelta(seconds=delay_s * self._rng.uniform(0.9, 1.1))


class VenClient:
    """A VEN that runs.

    Args:
        session: The protocol.
        transport: The way to the VTN.
        application: The home; the same that the session was given.
        clock: The time.
        rng: Source of the back-off's jitter.
        rank: Whom to let go first at one instant, for the clock.
        key: The name under which to sleep, venName if left out.
        back_off_cap: The longest pause after failures.
        keeper: Keeps the state on disk; None is a VEN that forgets everything with its process.
    """

    def __init__(
        self,
        session: Session,
        transport: Transport,
        application: Application,
        clock: Clock,
        rng: random.Random,
        *,
        rank: int = 4,
        key: str | None = None,
        back_off_cap: timedelta = timedelta(seconds=64),
        keeper: Keeper | None = None,
    ) -> None:
        self.session = session
        self.link: LinkState = CLEAR
        """How it stands with the way to the VTN."""
        self._keeper = keeper
        self._transport = transport
        self._application = application
        self._clock = clock
        self._back_off = BackOff(rng, cap_s=back_off_cap.total_seconds())
        self._key = key if key is not None else session.config.ven_name
        self._blocked_until: datetime | None = None
        self._answered = asyncio.Event()
        self._nap = Nap(clock, rank, self._key)

    def wake(self) -> None:
        """Look at once whether there is something to do, e.g. after an opt or a message of the VTN."""
        self._nap.wake()

    async def receive(self, message: AnyMessage) -> AnyMessage | None:
        """Take a message the VTN posted, return the reply; :meth:`wake` is due once that has left.

        A VTN may post before we have read its answer to our registration: then the message waits for that.
        """
        if self.session.state is State.REGISTERING:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REGISTERING_S):
                    await self._answered.wait()
        now = self._clock.now()
        reply = self.session.receive(message, now)
        self._keep(now)
        return reply

    async def run(self) -> None:
        """Register and serve until cancelled; the first instant counts as a wake of the application.

        Raises:
            StateError: if the state cannot be read or written; nothing more is promised then.
        """
        wakeup: datetime | None = self._clock.now()
        if self._keeper is None or not self._keeper.restore(self._clock.now()):
            self.session.begin(self._clock.now())
        while True:
            now = self._clock.now()
            if wakeup is not None and now >= wakeup:
                self._application.on_time(now)
            self.session.on_time(now)
            await self._send(now)
            self._keep(self._clock.now())
            wakeup = self._application.next_wakeup(now)
            await self._nap.until(self._next(now, wakeup))

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    def _keep(self, now: datetime) -> None:
        if self._keeper is not None:
            self._keeper.keep(now)

    def _next(self, now: datetime, wakeup: datetime | None) -> datetime:
        send = self.session.next_send(now)
        if send is not None and self._blocked_until is not None:
            send = max(send, self._blocked_until)
        due = [when for when in (wakeup, self.session.next_inner, send) if when is not None]
        return min(due, default=now + _IDLE)

    async def _send(self, now: datetime) -> None:
        if self._blocked_until is not None and now < self._blocked_until:
            return
        self._blocked_until = None
        while (message := self.session.take(now)) is not None:
            self._keep(now)
            self._answered.clear()
            try:
                reply = await self._transport.exchange(service_of(message), message)
            except TransportError as err:
                now = self._clock.now()
                pause = max(self._back_off.next(), timedelta(seconds=err.retry_after_s or 0))
                self._note(message, err)
                self.session.on_failure(message, err, now)
                self._blocked_until = now + pause
                return
            except asyncio.CancelledError:
                self.session.on_failure(message, TransportError("cancelled"), now)
                raise
            finally:
                self._answered.set()  # whoever waits goes on after what follows here
            now = self._clock.now()
            self._back_off.reset()
            self.link = CLEAR
            self._note_refusal(message, reply)
            self.session.on_reply(message, reply, now)

    def _note_refusal(self, message: AnyMessage, reply: AnyMessage) -> None:
        """Say what the VTN refused and why: whoever installs a VEN has nothing else to go by."""
        response = response_of(reply)
        if response is not None and not is_success(response.code):
            why = response.description or "it does not say why"
            name = type(message).__name__
            _LOG.warning("%s: the VTN refused %s with %s: %.300r", self._key, name, response.code, why)

    def _note(self, message: AnyMessage, err: TransportError) -> None:
        self.link = LinkState.after(err)
        level = logging.ERROR if self.link.trouble is Trouble.CERTIFICATE else logging.WARNING
        _LOG.log(level, "%s: %s was not answered: %s", self._key, type(message).__name__, err)
