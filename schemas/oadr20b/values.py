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
from schemas.oadr20b.leaves import TOKEN, collapse, leaf_of
from schemas.oadr20b.units import ItemBase, ItemKind, PowerAttributes, form_of

__all__ = ["Element", "Read", "Value", "Write", "item_base_value", "leaf_value", "set_attribute", "text_of"]

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


def leaf_value(kind: type, tag: str, *, token: bool = False) -> Value | None:
    """Return how a simple type is read and written in one element; None if the type is not simple."""
    leaf = TOKEN if token else leaf_of(kind)
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


def set_attribute(element: Element, name: str, text: str) -> None:
    """Set an attribute.

    Raises:
        InvalidValue: if the text holds a character XML cannot carry.
    """
    try:
        element.set(name, text)
    except ValueError as err:
        raise InvalidValue(f"text that XML cannot carry in {etree.QName(name).localname}: {err}") from err


def item_base_value() -> Value:
    """Return how the substitution group of emix:itemBase is read and written."""
    kinds = {clark(kind): kind for kind in ItemKind}

    def read(element: Element) -> ItemBase:
        return _read_item_base(kinds[cast(str, element.tag)], element)

    def write(parent: Element, value: Any) -> None:
        _write_item_base(parent, value)

    return Value(tuple(kinds), read, write)


def _read_item_base(kind: ItemKind, element: Element) -> ItemBase:
    form = form_of(kind)
    part = _Parts(element)
    attributes = None
    if form.has_attributes:
        inner = _Parts(part.element("powerAttributes"))
        attributes = PowerAttributes(
            hertz=_typed(Decimal, inner.text("hertz")),
            voltage=_typed(Decimal, inner.text("voltage")),
            ac=_typed(bool, inner.text("ac")),
        )
    description, units = part.text("itemDescription"), part.text("itemUnits")
    if kind is not ItemKind.CUSTOM_UNIT:  # the only one whose texts are free; the others' are names
        description, units = collapse(description), collapse(units)
    return ItemBase(
        kind=kind,
        description=description or form.description or "",  # an empty element stands for its fixed value
        units=units or form.units or "",
        scale=_typed(SiScale, part.text("siScaleCode")) if form.has_scale else None,
        attributes=attributes,
        pulse_factor=_typed(float, part.text("pulseFactor")) if form.has_pulse_factor else None,
    )


class _Parts:
    """The children of an element by local name."""

    def __init__(self, element: Element) -> None:
        self._name = etree.QName(element).localname
        self._children = {
            etree.QName(child).localname: child for child in element if isinstance(child.tag, str)
        }

    def element(self, name: str) -> Element:
        try:
            return self._children[name]
        except KeyError as err:
            raise InvalidValue(f"{self._name} without {name}") from err

    def text(self, name: str) -> str:
        return text_of(self.element(name))


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
