"""The rules of the profile, checked on live traffic: breaches are counted and logged, nothing else."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from schemas.oadr20b.rules import PushOrPull
from schemas.oadr20b.rules.watch import Conversation
from vtn_server.exchange import Exchange

__all__ = ["RuleWatch", "watched"]

_LOG: Final = logging.getLogger(__name__)
_KEPT: Final = 10_000
"""Conversations; the longest silent one goes first."""


class RuleWatch:
    """Follows the conversation with each VEN.

    Args:
        counter: Counts breaches by the number of the rule.
    """

    def __init__(self, counter: Counter[str]) -> None:
        self._counter: Final = counter
        self._conversations: Final[OrderedDict[str, Conversation]] = OrderedDict()

    def see(self, exchange: Exchange) -> None:
        """Check both messages of an exchange."""
        conversation = self._conversations.get(exchange.ven_id or "") or Conversation(
            PushOrPull.PUSH if exchange.pushed else None
        )
        look = conversation.pushed if exchange.pushed else conversation.exchange
        for violation in look(exchange.request, exchange.reply, exchange.at):
            self._counter[violation.rule] += 1
            _LOG.warning("%s: %s", exchange.ven_id, violation, extra={"ven_id": exchange.ven_id})
        ven_id = exchange.ven_id or conversation.ven_id
        if ven_id is None:
            return
        self._conversations[ven_id] = conversation
        self._conversations.move_to_end(ven_id)
        if len(self._conversations) > _KEPT:
            self._conversations.popitem(last=False)


def watched(
    check_rules: bool, counter: Counter[str], show: Callable[[Exchange], None] | None
) -> Callable[[Exchange], None] | None:
    """Return what is shown every exchange: the check of the rules, the given observer, both or None."""
    if not check_rules:
        return show
    watch = RuleWatch(counter)
    if show is None:
        return watch.see

    def both(exchange: Exchange) -> None:
        watch.see(exchange)
        show(exchange)

    return both
