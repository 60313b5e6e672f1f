"""Single values of the codec: leaves, and the units of measure with their table.

A :class:`Value` knows the elements it can stand in, how to read one of them and how to append one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar, cast

from lxml import etree

from schemas.oadr20b.declare import clark
from schemas.oadr20b.enums import SiScale
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.leaves import leaf_of
from schemas.oadr20b.units import ItemBase, ItemKind, PowerAttributes, form_of

__all__ = ["Element", "Read", "Value", "Write", "item_base_value", "leaf_value", "text_of"]

Element = etree._Element
T = TypeVar("T")

Read = Callable[[Element], Any]
Write = Callable[[Element, Any], None]
"""Appends a value to its parent element."""


@dataclass(frozen=True, slots=True)
class Value:
    """How one value is read from its own element and appended below a parent."""

    tags: tuple[str, ...]
    read: Read
    write: Write


def text_of(element: Element) -> str:
    """Return the text of a leaf, joined across comments and processing instructions."""
    if len(element) == 0:
        return element.text or ""
    return (element.text or "") + "".join(child.tail or "" for child in element)


# --- values ------------------------------------------------------------------------------------------------


def leaf_value(kind: type, tag: str) -> Value | None:
    """Return how a simple type is read and written in one element; None if the type is not simple."""
    leaf = leaf_of(kind)
    if leaf is None:
        return None

    def read(element: Element) -> Any:
        return leaf.read(text_of(element))

    def write(parent: Element, value: Any) -> None:
        _set_text(etree.SubElement(parent, tag), leaf.write(value))

    return Value((tag,), read, write)


def _set_text(element: Element, text: str) -> None:
    try:
        element.text = text
    except ValueError as err:  # a control character, which XML 1.0 cannot carry
        raise InvalidValue(f"text that XML cannot carry in {etree.QName(element).localname}: {err}") from err


def item_base_value() -> Value:
    """Return how the substitution group of emix:itemBase is read and written."""
    kinds = {clark(kind): kind for kind in ItemKind}

    def read(element: Element) -> ItemBase:
        return _read_item_base(kinds[cast(str, element.tag)], element)

    def write(parent: Element, value: Any) -> None:
        _write_item_base(parent, value)

    return Value(tuple(kinds), read, write)


def _read_item_base(kind: ItemKind, element: Element) -> ItemBase:
    form, text = form_of(kind), _texts(element)
    attributes = None
    if form.has_attributes:
        node = element.find(clark("power:powerAttributes"))
        if node is None:
            raise InvalidValue(f"{kind} without powerAttributes")
        part = _texts(node)
        attributes = PowerAttributes(
            hertz=_typed(Decimal, part["hertz"]),
            voltage=_typed(Decimal, part["voltage"]),
            ac=_typed(bool, part["ac"]),
        )
    return ItemBase(
        kind=kind,
        description=text["itemDescription"].strip(),
        units=text["itemUnits"].strip(),
        scale=_typed(SiScale, text["siScaleCode"]) if form.has_scale else None,
        attributes=attributes,
        pulse_factor=_typed(float, text["pulseFactor"]) if form.has_pulse_factor else None,
    )


def _texts(element: Element) -> dict[str, str]:
    return {etree.QName(child).localname: text_of(child) for child in element if isinstance(child.tag, str)}


def _typed(kind: type[T], text: str) -> T:
    leaf = leaf_of(kind)
    assert leaf is not None
    return cast(T, leaf.read(text))


def _write_item_base(parent: Element, value: ItemBase) -> None:
    element = etree.SubElement(parent, clark(value.kind))
    prefix = value.kind.split(":")[0]

    def add(below: Element, name: str, kind: type, content: object) -> None:
        leaf = leaf_of(kind)
        assert leaf
        _set_text(etree.SubElement(below, clark(name)), leaf.write(content))

    add(element, f"{prefix}:itemDescription", str, value.description)
    add(element, f"{prefix}:itemUnits", str, value.units)
    if value.scale is not None:
        add(element, "scale:siScaleCode", SiScale, value.scale)
    if value.pulse_factor is not None:
        add(element, "oadr:pulseFactor", float, value.pulse_factor)
    if value.attributes is not None:
        node = etree.SubElement(element, clark("power:powerAttributes"))
        add(node, "power:hertz", Decimal, value.attributes.hertz)
        add(node, "power:voltage", Decimal, value.attributes.voltage)
        add(node, "power:ac", bool, value.attributes.ac)
