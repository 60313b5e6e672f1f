"""The clock of this machine against that of the VTN, as the replies of its operator API tell.

Gates, prices and readings have the VTN's time, what an engine does at which instant has its own. One whose
clock is ahead clears before the gate has closed and settles hours that are not over; one that is behind comes
when nobody listens any more. So each reply is compared: it was made between the request and its arrival, and
by how much the two clocks *must* differ for that to be is taken, never more.

From ``warn`` on the difference is told. From ``refuse`` on nothing is cleared, published, settled or sealed;
the default, 30 s, is how old a meter reading may be: beyond that an engine cannot say what is the present.
Where the VTN does not tell its time (an older one, a proxy) there is nothing to compare, and that is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from dso_engine.errors import ExchangeFailed
from dso_engine.guard import Guard
from dso_engine.model import SLOT
from dso_engine.ports import Recorder
from dso_engine.records import FaultRecord

__all__ = ["ClockState", "ClocksDiffer", "GuardedByClock", "VtnClock", "least_lead"]

_LOG: Final = logging.getLogger(__name__)
_FRESH: Final = timedelta(seconds=60)
_ZERO: Final = timedelta(0)


class ClockState(StrEnum):
    """What is known of the two clocks."""

    UNKNOWN = "unknown"
    """Nothing yet, or the VTN does not tell its time."""
    AGREE = "agree"
    DIFFER = "differ"
    """Enough to be told."""
    REFUSED = "refused"
    """So much that nothing is done."""


_RANKS: Final = tuple(ClockState)


class ClocksDiffer(ExchangeFailed):
    """The clocks differ too much for what was to be done; it may be tried again."""


def least_lead(sent: datetime, received: datetime, told: datetime) -> timedelta:
    """Return by how much this clock is ahead of the other one at least; negative is behind.

    Zero where it need be neither.

    Args:
        sent: By this clock, before the other one was read.
        received: By this clock, afterwards.
        told: By the other clock.
    """
    return max(sent - told, _ZERO) + min(received - told, _ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """One comparison."""

    at: datetime
    lead: timedelta


class VtnClock:
    """Keeps the newest comparison.

    Args:
        now: The clock of this machine.
        warn: From which difference on it is told.
        refuse: From which on nothing is done.
        recorder: Takes a record when the clocks come to differ.
    """

    def __init__(
        self, now: Callable[[], datetime], *, warn: timedelta, refuse: timedelta, recorder: Recorder
    ) -> None:
        self._now = now
        self._warn, self._refuse = warn, refuse
        self._recorder = recorder
        self._newest: ClockReading | None = None
        self._silent = False
        self.state = ClockState.UNKNOWN
        self._back = asyncio.Event()

    @property
    def lead(self) -> timedelta:
        """By how much this clock is ahead at least; zero before the first comparison."""
        return _ZERO if self._newest is None else self._newest.lead

    @property
    def compared_at(self) -> datetime | None:
        """When the newest comparison was made, by this clock."""
        return None if self._newest is None else self._newest.at

    def now(self) -> datetime:
        """Return the present instant of this machine."""
        return self._now()

    def heard(self, sent: datetime, received: datetime, told: datetime | None) -> None:
        """Take a reply; see :func:`least_lead`. A VTN that does not tell its time is one without a clock."""
        if told is None:
            if not self._silent:
                _LOG.warning("the VTN does not tell its time: nobody sees whether the clocks agree")
            self._silent = True
            return
        found = ClockReading(at=received, lead=least_lead(sent, received, told))
        state = self._judge(abs(found.lead))
        if received - sent > self._warn and _RANKS.index(state) < _RANKS.index(self.state):
            return  # a reply that took so long can show that clocks differ, not that they agree
        self._newest = found
        self._become(state)

    def _judge(self, by: timedelta) -> ClockState:
        """Return what a difference means; what is on goes off at half, so that it does not come and go."""
        refuse = self._refuse / 2 if self.state is ClockState.REFUSED else self._refuse
        warn = self._warn if self.state in (ClockState.UNKNOWN, ClockState.AGREE) else self._warn / 2
        if by >= refuse:
            return ClockState.REFUSED
        return ClockState.DIFFER if by >= warn else ClockState.AGREE

    def told(self) -> str:
        """Return what is wrong, alike as long as it is."""
        way = "ahead of" if self.lead > _ZERO else "behind"
        least = self._refuse if self.state is ClockState.REFUSED else self._warn
        return f"the clock of this machine is {way} the VTN's by {least.total_seconds():g} s or more"

    async def check(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Return if the clocks agree, or nobody knows; a comparison that is old is made anew.

        Args:
            ask: Asks the VTN something, so that :meth:`heard` is called.

        Raises:
            ClocksDiffer: if they differ too much.
        """
        at = self.compared_at
        if self.state is ClockState.REFUSED or at is None or not _ZERO <= self._now() - at <= _FRESH:
            try:
                await ask()
            except ExchangeFailed as err:
                _LOG.debug("clocks: %s", err)  # what needs the VTN will fail by itself
        if self.state is ClockState.REFUSED:
            raise ClocksDiffer(self.told())

    async def back(self) -> None:
        """Return when the clocks agree after they did not."""
        await self._back.wait()
        self._back.clear()

    def _become(self, state: ClockState) -> None:
        former, self.state = self.state, state
        if state is former:
            return
        if state in (ClockState.DIFFER, ClockState.REFUSED):
            level = logging.ERROR if state is ClockState.REFUSED else logging.WARNING
            more = ": nothing is settled or published" if state is ClockState.REFUSED else ""
            _LOG.log(level, "%s (%.1f s)%s", self.told(), abs(self.lead.total_seconds()), more)
            at = self._now()
            error = ClocksDiffer(self.told())
            slot = at - (at - datetime.min.replace(tzinfo=at.tzinfo)) % SLOT
            self._recorder.record(FaultRecord.of(error, slot=slot, at=at, what="clock"))
        elif former is not ClockState.UNKNOWN:
            _LOG.info("the clocks of this machine and the VTN agree again")
        if former is ClockState.REFUSED:
            self._back.set()


class GuardedByClock:
    """Implements :class:`dso_engine.guard.Guard`: another one, whose work waits for the clocks to agree.

    Args:
        inner: What becomes of errors, the one of clocks among them.
        clock: The comparison.
        ask: See :meth:`VtnClock.check`.
    """

    def __init__(self, inner: Guard, clock: VtnClock, ask: Callable[[], Awaitable[object]]) -> None:
        self._inner, self._clock, self._ask = inner, clock, ask

    async def run(
        self, what: str, slot: datetime, work: Callable[[], Awaitable[None]], until: datetime | None
    ) -> bool:
        """See :class:`dso_engine.guard.Guard`."""
        return await self._inner.run(what, slot, partial(self._checked, work), until)

    async def _checked(self, work: Callable[[], Awaitable[None]]) -> None:
        await self._clock.check(self._ask)
        await work()
