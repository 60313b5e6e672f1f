"""What an expected error means to the engine's timers.

In a simulation nothing may go wrong: an error ends the run, with what broke and when. On the wall clock a
feeder must be looked after whatever one slot brought: an error the engine raises on purpose (a gap in the
measurement, a power flow without solution, a server out of reach) is logged, put on record and skipped. An
error nobody expected is a fault of the program and ends it in both; its supervisor starts it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from dso_engine.errors import EngineError, ExchangeFailed
from dso_engine.ports import Clock, Recorder
from dso_engine.records import FaultRecord

__all__ = ["Guard", "Loud", "Steadfast"]

_LOG: Final = logging.getLogger(__name__)
_RANK: Final = 3


class Guard(Protocol):
    """Does one piece of work, and decides what becomes of its error."""

    async def run(
        self, what: str, slot: datetime, work: Callable[[], Awaitable[None]], until: datetime | None
    ) -> bool:
        """Do the work; return whether it was done.

        Args:
            what: Its name.
            slot: The slot or hour it is for.
            work: May be done again after an error.
            until: From when on it is of no use; None is never.
        """
        ...


class Loud:
    """Every error ends the run."""

    async def run(
        self, what: str, slot: datetime, work: Callable[[], Awaitable[None]], until: datetime | None
    ) -> bool:
        """See :class:`Guard`."""
        del what, slot, until
        await work()
        return True


class Steadfast:
    """An expected error is logged, put on record and skipped; a server out of reach is tried again.

    Args:
        clock: Time.
        recorder: Takes a record of every error, one of each kind while the same work is tried again.
        retry: How long to wait before the next try.
    """

    def __init__(self, clock: Clock, recorder: Recorder, retry: timedelta = timedelta(seconds=10)) -> None:
        self._clock = clock
        self._recorder = recorder
        self._retry = retry

    async def run(
        self, what: str, slot: datetime, work: Callable[[], Awaitable[None]], until: datetime | None
    ) -> bool:
        """See :class:`Guard`."""
        told: set[str] = set()
        if until is not None and self._clock.now() >= until:
            self._note(EngineError("its time is over"), what, slot, told)
            return False
        while True:
            try:
                await work()
            except EngineError as err:
                self._note(err, what, slot, told)
                again = self._clock.now() + self._retry
                if not isinstance(err, ExchangeFailed) or (until is not None and again >= until):
                    return False
                await self._clock.sleep_until(again, _RANK, "again")
            else:
                if told:
                    _LOG.info("%s for %s: done after all", what, slot.isoformat())
                return True

    def _note(self, error: EngineError, what: str, slot: datetime, told: set[str]) -> None:
        if str(error) in told:
            return
        told.add(str(error))
        record = FaultRecord.of(error, slot=slot, at=self._clock.now(), what=what)
        _LOG.warning("%s for %s: %s: %s", what, slot.isoformat(), record.error, record.text)
        self._recorder.record(record)
