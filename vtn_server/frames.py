"""Replies that differ in a few ids only: encoded once, cut where these stand, spliced from then on. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

from schemas.oadr20b.errors import InvalidValue

__all__ = ["FIRST", "SECOND", "THIRD", "Frame"]

FIRST: Final = "the first id goes here"
SECOND: Final = "the second id goes here"
THIRD: Final = "the third id goes here"
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _.:/-]*")
"""Texts that look the same in XML."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A message with some ids missing.

    Attributes:
        form: The message with ``%b`` where an id goes.
    """

    form: bytes

    @classmethod
    def of(cls, body: bytes, marks: tuple[str, ...] = (FIRST, SECOND)) -> Frame:
        """Return the frame of a message that has marks for its ids, in this order.

        Raises:
            InvalidValue: if they are not there.
        """
        pieces: list[bytes] = []
        for mark in marks:
            before, found, body = body.partition(mark.encode())
            if not found:
                raise InvalidValue("a message without its ids")
            pieces.append(before)
        return cls(b"%b".join(piece.replace(b"%", b"%%") for piece in (*pieces, body)))

    def filled(self, *ids: str) -> bytes:
        """Return the message with these ids, as many as there were marks.

        Raises:
            InvalidValue: if one holds a character that XML cannot carry.
        """
        return self.form % tuple([_as_text(each) for each in ids])


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
