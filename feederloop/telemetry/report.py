"""How a source tells of what it refuses: the first of each kind at once, then sums."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from feederloop.telemetry.board import Fault

__all__ = ["FaultLog"]

_EVERY: Final = timedelta(minutes=1)
_SHOWN: Final = 80


class FaultLog:
    """Writes refusals to a log, at most one line a minute for each fault.

    Args:
        log: Where to.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._since: Counter[Fault] = Counter()
        self._told: dict[Fault, datetime] = {}

    def note(self, fault: Fault, what: object, where: str, now: datetime) -> None:
        """Tell of a refusal, or count it for the next line.

        Args:
            fault: Why.
            what: The reading; its beginning is shown.
            where: File or topic.
            now: The present instant.
        """
        self._since[fault] += 1
        last = self._told.get(fault)
        if last is not None and now - last < _EVERY:
            return
        count, self._since[fault] = self._since[fault], 0
        self._told[fault] = now
        more = f", {count - 1} more since the last line" if count > 1 else ""
        self._log.warning("%s: reading refused, %s: %.*r%s", where, fault.value, _SHOWN, what, more)
