"""Who may be posted to now: exchanges under way are bounded, and one that takes long keeps nobody waiting.

* A VEN whose last exchange went well takes one of the sound slots. If it has not answered after a moment, it
  is likely not to answer at all: it goes on as a slow one, up to a bound of their own, and its slot is free.
  So a street that has lost its connection holds up the others by that moment, not by its time-outs.
* A VEN whose last exchange failed takes one of the doubtful slots, and keeps it.
* Where there are as many slow ones as may be, a slot is kept until its exchange is over.

The moment is one of the wall, as exchanges are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vtn_server.limits import Limit
from vtn_server.push_http import PushHttp, PushLimits
from vtn_server.service import VtnService

__all__ = ["Slots", "watch_push"]


class Slots:
    """The bounds of the exchanges of one dispatcher.

    Args:
        sound: How many with VENs that answered last time.
        doubtful: How many with the others.
        slow: How many beside the sound ones that have not been answered for a moment.
        moment_s: How long that is.
    """

    def __init__(self, *, sound: int, doubtful: int, slow: int, moment_s: float) -> None:
        self._sound = asyncio.Semaphore(sound)
        self._doubtful = asyncio.Semaphore(doubtful)
        self._most_slow = slow
        self._moment_s = moment_s
        self.under_way = 0
        """Exchanges under way, slow ones among them."""
        self.slow = 0
        self.waited = 0
        """How many exchanges had to wait for a slot."""
        self.crowded = 0
        """How often an exchange kept its slot because there were enough slow ones."""

    @classmethod
    def of(cls, limits: PushLimits) -> Slots:
        """Return the slots that some bounds ask for."""
        return cls(
            sound=limits.exchanges - limits.doubtful_exchanges,
            doubtful=limits.doubtful_exchanges,
            slow=limits.slow_exchanges,
            moment_s=limits.slow_s,
        )

    @asynccontextmanager
    async def slot(self, *, doubtful: bool) -> AsyncIterator[None]:
        """Hold a slot for an exchange."""
        slots = self._doubtful if doubtful else self._sound
        self.waited += slots.locked()
        await slots.acquire()
        held = _Held(self, slots)
        timer = None if doubtful else asyncio.get_running_loop().call_later(self._moment_s, held.go_on_slow)
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            if timer is not None:
                timer.cancel()
            held.let_go()

    def begin_slow(self) -> bool:
        """Return whether one more exchange may go on as a slow one, and count it."""
        if self.slow >= self._most_slow:
            self.crowded += 1
            return False
        self.slow += 1
        return True


class _Held:
    """A slot that an exchange has, and may have to let go early."""

    def __init__(self, owner: Slots, slots: asyncio.Semaphore) -> None:
        self._owner = owner
        self._slots = slots
        self._slow = False

    def go_on_slow(self) -> None:
        if self._owner.begin_slow():
            self._slow = True
            self._slots.release()

    def let_go(self) -> None:
        if self._slow:
            self._owner.slow -= 1
        else:
            self._slots.release()


def watch_push(service: VtnService, limits: PushLimits, slots: Slots, http: PushHttp) -> None:
    """Show the bounds of pushes among the counters of a VTN."""
    service.watch(
        Limit.PUSH_EXCHANGES, limits.exchanges, lambda: slots.under_way - slots.slow, lambda: slots.waited
    )
    service.watch(Limit.PUSH_SLOW, limits.slow_exchanges, lambda: slots.slow, lambda: slots.crowded)
    service.watch(Limit.PUSH_KEPT, limits.kept, lambda: http.kept, lambda: http.not_kept)
