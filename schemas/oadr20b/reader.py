"""Elements to dataclasses: one reading function per class, made once from what its fields say.

Reading goes by namespace and local name in any order of children, since the schema has already checked the
order. Nothing is looked up by the name of a class while a message is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NoReturn

from lxml import etree

from schemas.oadr20b.errors import InvalidValue, NotModelled
from schemas.oadr20b.leaves import collapse
from schemas.oadr20b.values import Element, Read

__all__ = ["ABSENT", "Held", "Part", "below", "class_reader", "each_below"]


class _Absent(Enum):
    """What a path that ends early leads to; None is a value of its own."""

    ABSENT = auto()


ABSENT: Final = _Absent.ABSENT


class Held(Enum):
    """How a field holds what one child element brings."""

    ONE = auto()
    """As it is; a later one replaces it."""
    EACH = auto()
    """One more item of a tuple."""
    ALL = auto()
    """Any number of further items."""


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of a child element.

    Attributes:
        field: Where it belongs.
        read: Reads it: a value or ABSENT, or the values where it brings any number.
    """

    field: str
    read: Read
    held: Held


def below(tags: tuple[str, ...], read: Read) -> Read:
    """Return a function that goes down through wrappers, the first of each name, and reads what is there."""
    if not tags:
        return read
    tag, inner = tags[0], below(tags[1:], read)

    def descend(element: Element) -> object:
        for child in element:
            if child.tag == tag:
                return inner(child)
        return ABSENT

    return descend


def each_below(tags: tuple[str, ...], repeat: int, read: Read) -> Read:
    """Return a function that goes down through wrappers and reads all elements that are there.

    Args:
        tags: The names below the element that it is given.
        repeat: Which of them repeats; -1 if it is that element itself, of which the function then reads one.
        read: Reads what is innermost.
    """
    if repeat < 0:
        return below(tags, read)
    tag, read_one = tags[repeat], below(tags[repeat + 1 :], read)

    def all_in(holder: Element) -> list[object]:
        found = [read_one(child) for child in holder if child.tag == tag]
        return [each for each in found if each is not ABSENT]

    outer = below(tags[:repeat], all_in)

    def items(element: Element) -> object:
        found = outer(element)
        return () if found is ABSENT else found

    return items


def class_reader(
    cls: type,
    parts: Mapping[str, Part],
    attributes: tuple[tuple[str, str], ...],
    *,
    blank: dict[str, Any],
    inside: str,
) -> Read:
    """Return the function that reads an element as a class.

    Args:
        cls: The class.
        parts: By the tag of the child element.
        attributes: Fields with their attributes.
        blank: What the fields are that an element need not have. A field that is not there is required.
        inside: The wrapper between the element and its children; empty where there is none.
    """
    plan: dict[object, tuple[str, Read, Held]] = {
        tag: (part.field, part.read, part.held) for tag, part in parts.items()
    }
    wanted = len({part.field for part in parts.values()} | set(blank))
    one, each = Held.ONE, Held.EACH  # looked up here once, not for each child

    def read(element: Element) -> object:
        holder = _wrapped(element, inside) if inside else element
        values = blank.copy()
        several: dict[str, list[Any]] | None = None
        for child in holder:
            part = plan.get(child.tag)
            if part is None:
                _refuse_unknown(child, element)
                continue
            field, read_child, held = part
            found = read_child(child)
            if held is one:
                if found is not ABSENT:
                    values[field] = found
                continue
            if several is None:
                several = {}
            items = several.setdefault(field, [])
            if held is not each:
                items.extend(found)
            elif found is not ABSENT:
                items.append(found)
        if several is not None:
            for field, items in several.items():
                values[field] = tuple(items)
        if len(values) != wanted:
            _refuse_lack(element, parts, values)
        for field, attribute in attributes:
            text = element.get(attribute)
            if text is not None:
                values[field] = collapse(text)
        return cls(**values)

    return read


def _wrapped(element: Element, inside: str) -> Element:
    inner = element.find(inside)
    if inner is None:
        raise InvalidValue(f"{etree.QName(element).localname} without its {inside}")
    return inner


def _refuse_unknown(child: Element, element: Element) -> None:
    """Refuse what has no field; comments and processing instructions do not count."""
    if isinstance(child.tag, str):
        raise NotModelled(f"{child.tag} in {etree.QName(element).localname}")


def _refuse_lack(element: Element, parts: Mapping[str, Part], values: Mapping[str, Any]) -> NoReturn:
    missing = next(part.field for part in parts.values() if part.field not in values)
    raise InvalidValue(f"{etree.QName(element).localname} without {missing}")
