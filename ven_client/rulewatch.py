"""The rules of the profile, checked on a VEN's live traffic: an observer for transport and listener."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from schemas.oadr20b.rules import PushOrPull, Violation
from schemas.oadr20b.rules.watch import Conversation
from ven_client.listener import Incoming
from ven_client.transport import Exchange

__all__ = ["RuleWatch"]

_LOG: Final = logging.getLogger(__name__)


class RuleWatch:
    """Checks both messages of every exchange it is shown; breaches are counted and logged, nothing else.

    Args:
        model: Push or pull.
        then: Another observer to show the exchange to.
        now: The time of what the VTN posts; needed for a listener.
    """

    def __init__(
        self,
        model: PushOrPull = PushOrPull.PULL,
        then: Callable[[Exchange], None] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._conversation: Final = Conversation(model)
        self._then: Final = then
        self._now: Final = now
        self._violations: Final[Counter[str]] = Counter()

    @property
    def violations(self) -> tuple[tuple[str, int], ...]:
        """How often each rule was broken, by number."""
        return tuple(sorted(self._violations.items()))

    def __call__(self, exchange: Exchange) -> None:
        """Look at one exchange."""
        self._note(self._conversation.exchange(exchange.request, exchange.response, exchange.sent_at))
        if self._then is not None:
            self._then(exchange)

    def incoming(self, posted: Incoming) -> None:
        """Look at what the VTN posted, and at the reply.

        Raises:
            ValueError: if the watch has no clock.
        """
        if self._now is None:
            raise ValueError("to watch a listener takes a clock")
        self._note(self._conversation.pushed(posted.request, posted.response, self._now()))

    def _note(self, found: Sequence[Violation]) -> None:
        for each in found:
            self._violations[each.rule] += 1
            _LOG.warning("%s", each)
