"""Replies that differ in two ids only: encoded once, cut where the ids stand, spliced from then on. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

from schemas.oadr20b.errors import InvalidValue

__all__ = ["FIRST", "SECOND", "Frame"]

FIRST: Final = "the first id goes here"
SECOND: Final = "the second id goes here"
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _.:/-]*")
"""Texts that look the same in XML."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A message with two ids missing.

    Attributes:
        before: What stands before the first.
        between: What stands between them.
        after: What stands after the second.
    """

    before: bytes
    between: bytes
    after: bytes

    @classmethod
    def of(cls, body: bytes) -> Frame:
        """Return the frame of a message whose ids are :data:`FIRST` and :data:`SECOND`, in this order.

        Raises:
            InvalidValue: if they are not there.
        """
        before, first, rest = body.partition(FIRST.encode())
        between, second, after = rest.partition(SECOND.encode())
        if not (first and second):
            raise InvalidValue("a message without its ids")
        return cls(before, between, after)

    def filled(self, first: str, second: str) -> bytes:
        """Return the message with these ids.

        Raises:
            InvalidValue: if one holds a character that XML cannot carry.
        """
        return b"".join((self.before, _as_text(first), self.between, _as_text(second), self.after))


def _as_text(value: str) -> bytes:
    if _PLAIN.fullmatch(value):
        return value.encode()
    element = etree.Element("x")
    try:
        element.text = value
    except ValueError as err:
        raise InvalidValue(f"text that XML cannot carry: {err}") from err
    text: bytes = etree.tostring(element, encoding="UTF-8", xml_declaration=False)
    return text.removeprefix(b"<x>").removesuffix(b"</x>")
