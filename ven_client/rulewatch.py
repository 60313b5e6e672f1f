"""The rules of the profile, checked on a VEN's live traffic: an observer for its transport."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from schemas.oadr20b.rules import PushOrPull
from schemas.oadr20b.rules.watch import Conversation
from ven_client.transport import Exchange

__all__ = ["RuleWatch"]

_LOG: Final = logging.getLogger(__name__)


class RuleWatch:
    """Checks both messages of every exchange it is shown; breaches are counted and logged, nothing else.

    Args:
        model: Push or pull.
        then: Another observer to show the exchange to.
    """

    def __init__(
        self, model: PushOrPull = PushOrPull.PULL, then: Callable[[Exchange], None] | None = None
    ) -> None:
        self._conversation: Final = Conversation(model)
        self._then: Final = then
        self._violations: Final[Counter[str]] = Counter()

    @property
    def violations(self) -> tuple[tuple[str, int], ...]:
        """How often each rule was broken, by number."""
        return tuple(sorted(self._violations.items()))

    def __call__(self, exchange: Exchange) -> None:
        """Look at one exchange."""
        for each in self._conversation.exchange(exchange.request, exchange.response, exchange.sent_at):
            self._violations[each.rule] += 1
            _LOG.warning("%s", each)
        if self._then is not None:
            self._then(exchange)
