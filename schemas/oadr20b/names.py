"""Which bodies would make the parser remember something new for ever.

libxml2 keeps every distinct name it reads (elements, attributes, prefixes, namespace URIs, processing
instructions, entities, and runs of white space between tags) in a dictionary that lives as long as the
thread that parses. A peer that invents names makes a process grow without end, about 70 bytes a name, whether
or not its messages are taken.

A :class:`NameBook` says, from the bytes and before anything is parsed, whether a body holds only names that
may stay. It is a matter of memory alone: what is wrong with a body, the parser and the schema say. So a body
this module cannot follow (comments, character data sections, entities, other encodings, a ``>`` inside a
value) is simply not *plain*, and :mod:`schemas.oadr20b.wire` parses it where nothing of it stays.

Names may stay if they are of the official schema, or came in bodies that turned out valid, as long as there
is room for more of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["NameBook"]

_LEARNED: Final = 500
"""Names beyond those of the schema that may stay; an ordinary peer brings about ten prefixes."""
_UNKNOWN: Final = 40
"""Unknown names in one body, beyond which it is not looked at further."""
_TAGS: Final = 1000
"""Distinct tags in one body that are taken apart; an ordinary one has fewer than a hundred."""
_REMEMBERED: Final = 2000
"""Tags that need not be taken apart again."""
_TAG_BYTES: Final = 2000
"""The longest tag that is remembered."""
_NAME_BYTES: Final = 200
"""The longest name that may be learned."""

_TAG: Final = re.compile(rb"<([^>]*+)")
_DECLARATION: Final = re.compile(
    rb"""\?xml\s+version\s*=\s*["']1\.[0-9]["']"""
    rb"""(?:\s+encoding\s*=\s*["'](?i:utf-?8|us-ascii|ascii)["'])?"""
    rb"""(?:\s+standalone\s*=\s*["'](?:yes|no)["'])?\s*\?"""
)
_FOLLOWED_BYTES: Final = 16_000
"""Nobody writes longer tags but to make us work."""
_NAME: Final = rb"[^\s<>/=&\"'?!:]++"
_PLAIN_TAG: Final = re.compile(
    rb"(/?+)("
    + _NAME
    + rb"(?::"
    + _NAME
    + rb")?)((?:\s++[^\s<>/=&\"'?!]++\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+'))*)\s*+/?+"
)
"""No possessive groups: Python before 3.11.5 gets them wrong. Each attribute is still tried only once."""
_ATTRIBUTE: Final = re.compile(rb"([^\s<>/=&\"'?!]++)\s*+=\s*+(?:\"([^\"<>]*+)\"|'([^'<>]*+)')")
_ENTITY: Final = re.compile(rb"&(?!(?:amp|lt|gt|apos|quot|#[0-9]+|#x[0-9a-fA-F]+);)")
_BLANK: Final = re.compile(rb">([ \t\r\n]{16,}+)<")
"""Shorter runs are stored in their nodes."""
_INDENT: Final = re.compile(rb"(?:\r?\n)?+(?: *+|\t*+)")


class NameBook:
    """The names that may stay in a parser's dictionary.

    Args:
        names: Element and attribute names without prefix, prefixes, and namespace URIs that are known.
        room: How many more may be learned.
    """

    def __init__(self, names: Iterable[str], *, room: int = _LEARNED) -> None:
        self._known: Final = {each.encode() for each in names}
        self._most: Final = len(self._known) + room
        self._tags: Final[set[bytes]] = set()

    def __len__(self) -> int:
        """How many names may stay."""
        return len(self._known)

    def is_plain(self, body: bytes) -> bool:
        """Return whether parsing a body would add no name that is not known."""
        return self.unknown(body) == frozenset()

    def unknown(self, body: bytes) -> frozenset[bytes] | None:
        """Return the names in a body that are not known; None if it cannot be followed, or has too many."""
        if b"&" in body and _ENTITY.search(body):
            return None
        tags = set(_TAG.findall(body)) - self._tags
        found = {run for run in _BLANK.findall(body) if not _INDENT.fullmatch(run)} - self._known
        if len(tags) > _TAGS or len(found) > _UNKNOWN:
            return None
        for tag in tags:
            names = _names(tag, body)
            if names is None:
                return None
            strange = names - self._known
            if strange:
                found |= strange
                if len(found) > _UNKNOWN:
                    return None
            elif len(tag) <= _TAG_BYTES:
                self._remember(tag)
        return frozenset(found)

    def learn(self, names: frozenset[bytes]) -> None:
        """Let the names of a valid body stay from now on, if there is room for all of them."""
        short = all(len(each) <= _NAME_BYTES for each in names)
        if short and len(self._known) + len(names) <= self._most:
            self._known.update(names)

    def _remember(self, tag: bytes) -> None:
        if len(self._tags) >= _REMEMBERED:
            self._tags.clear()
        self._tags.add(tag)


def _names(tag: bytes, body: bytes) -> set[bytes] | None:
    """Return what a tag, without its angle brackets, would add; None if it cannot be followed."""
    if tag.startswith(b"?"):
        at_start = body.startswith((b"<" + tag, b"\xef\xbb\xbf<" + tag)) and body.count(b"<?") == 1
        return set() if at_start and _DECLARATION.fullmatch(tag) else None
    parts = _PLAIN_TAG.fullmatch(tag) if len(tag) <= _FOLLOWED_BYTES else None
    if parts is None:
        return None
    names = set(parts[2].split(b":"))
    for name, double, single in _ATTRIBUTE.findall(parts[3]):
        names.update(name.split(b":"))
        if name == b"xmlns" or name.startswith(b"xmlns:"):
            names.add(double or single)
    return names
