"""Conformance rules that can be asserted on messages: numbered checks that find and never repair.

:func:`check` looks at one message. What is around it, such as the request it answers, comes as an
:class:`Exchange`; a rule that needs more than it is given finds nothing. :mod:`schemas.oadr20b.rules.watch`
follows a VEN's exchanges and knows what is around.

Source: OpenADR 2.0b sections 3.1 to 3.6 of the conformance rules.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from schemas.oadr20b.codec import MESSAGE_TYPES
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.rules import events, general, metadata, opts, registration, reports, signals
from schemas.oadr20b.rules.base import (
    NO_EXCHANGE,
    Direction,
    Exchange,
    PushOrPull,
    Rule,
    Subject,
    Violation,
)
from schemas.oadr20b.rules.general import replies_to

__all__ = ["RULES", "Direction", "Exchange", "PushOrPull", "Rule", "Violation", "check", "replies_to"]

RULES: Final[tuple[Rule, ...]] = (
    *general.RULES,
    *events.RULES,
    *signals.RULES,
    *opts.RULES,
    *metadata.RULES,
    *reports.RULES,
    *registration.RULES,
)
"""Every check. A number comes twice where two kinds of messages need two checks."""

_BY_TYPE: Final[dict[type[AnyMessage], tuple[Rule, ...]]] = {
    kind: tuple(rule for rule in RULES if not rule.messages or kind in rule.messages)
    for kind in MESSAGE_TYPES
}


def check(
    message: AnyMessage,
    *,
    direction: Direction,
    element: etree._Element | None = None,
    context: Exchange | None = None,
) -> tuple[Violation, ...]:
    """Return every breach of a rule by a message.

    Args:
        message: The message.
        direction: Which way it went.
        element: The root it came as, for what the dataclasses do not keep (r1, r45).
        context: What is known around it.
    """
    subject = Subject(
        message=message,
        direction=direction,
        element=element,
        exchange=NO_EXCHANGE if context is None else context,
    )
    return tuple(
        Violation(rule=rule.number, path=path, text=text)
        for rule in _BY_TYPE[type(message)]
        if rule.direction in (None, direction)
        for path, text in rule.check(subject)
    )
