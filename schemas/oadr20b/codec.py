"""Dataclasses to lxml elements and back, compiled once per class from its declarations.

Writing follows the order of the fields, which is the schema's; for reading see :mod:`schemas.oadr20b.reader`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar, cast

from lxml import etree

from schemas.oadr20b.declare import NAMESPACES, A, Choice, E, clark, layout_of
from schemas.oadr20b.errors import NotModelled
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.reader import Held, Part, below, class_reader, each_below
from schemas.oadr20b.units import ItemBase
from schemas.oadr20b.values import Element, Read, Value, Write, item_base_value, leaf_value, set_attribute

__all__ = [
    "MESSAGE_TYPES",
    "decode_element",
    "decode_message",
    "encode_element",
    "encode_message",
    "tag_of",
    "wrap_bare",
]

T = TypeVar("T")

MESSAGE_TYPES: Final[tuple[type[AnyMessage], ...]] = typing.get_args(AnyMessage)
PAYLOAD: Final = clark("oadr:oadrPayload")
SIGNED_OBJECT: Final = clark("oadr:oadrSignedObject")
_NSMAP: Final = {prefix: uri for prefix, uri in NAMESPACES.items() if prefix != "gml"}


@dataclass(frozen=True, slots=True)
class _Field:
    """One compiled field of a class.

    Attributes:
        reads: By the tag of the element it begins with; see :class:`schemas.oadr20b.reader.Part`.
        nothing: What it is where there is no element.
    """

    name: str
    reads: Mapping[str, Read]
    held: Held
    write: Write
    required: bool
    nothing: Any


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    attribute: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """A compiled class."""

    read: Read
    fields: tuple[_Field, ...]
    attributes: tuple[_Attribute, ...]
    inside: str
    then: str


def _class_value(cls: type, tag: str) -> Value:
    def write(parent: Element, value: Any) -> None:
        _fill(etree.SubElement(parent, tag), value)

    return Value((tag,), _plan(cls).read, write)


def _value_of(kind: type, tag: str, *, token: bool) -> Value:
    return leaf_value(kind, tag, token=token) or _class_value(kind, tag)


_PLANS: Final[dict[type, _Plan]] = {}
"""Compiled once per class; a cache of what the declarations say, not state. No class holds itself."""


# --- fields ------------------------------------------------------------------------------------------------


def _unwrap(hint: Any) -> tuple[tuple[type, ...], bool, bool]:
    """Return (alternative types, is a tuple, may be None) of an annotation."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    optional = type(None) in kinds
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1 and typing.get_origin(kinds[0]) is tuple:
        inner = typing.get_args(kinds[0])[0]
        return (typing.get_args(inner) if isinstance(inner, types.UnionType) else (inner,)), True, optional
    return kinds, False, optional


def _compile_path(name: str, marker: E, hint: Any, default: Any) -> _Field:
    kinds, many, optional = _unwrap(hint)
    steps = marker.path.split("/")
    tags = tuple(clark(step.rstrip("*")) for step in steps)
    value = _value_of(kinds[0], tags[-1], token=marker.collapse)
    if not many:
        return _Field(
            name=name,
            reads={tags[0]: below(tags[1:], value.read)},
            held=Held.ONE,
            write=_write_one(tags, value),
            required=not optional and default is dataclasses.MISSING,
            nothing=None,
        )
    starred = [i for i, step in enumerate(steps) if step.endswith("*")]
    repeat = starred[0] if starred else len(tags) - 1
    return _Field(
        name=name,
        reads={tags[0]: each_below(tags[1:], repeat - 1, value.read)},
        held=Held.ALL if repeat else Held.EACH,
        write=_write_many(tags, repeat, value),
        required=False,
        nothing=None if optional else (),
    )


def _write_one(tags: tuple[str, ...], value: Value) -> Write:
    wrappers = tags[:-1]

    def write(parent: Element, content: Any) -> None:
        for tag in wrappers:
            parent = etree.SubElement(parent, tag)
        value.write(parent, content)

    return write


def _write_many(tags: tuple[str, ...], repeat: int, value: Value) -> Write:
    outer, inner = tags[:repeat], tags[repeat:-1]

    def write(parent: Element, content: Any) -> None:
        for tag in outer:
            parent = etree.SubElement(parent, tag)
        for each in content:
            below = parent
            for tag in inner:
                below = etree.SubElement(below, tag)
            value.write(below, each)

    return write


def _compile_choice(name: str, hint: Any, default: Any) -> _Field:
    kinds, many, optional = _unwrap(hint)
    values = {kind: _class_value(kind, layout_of(kind).tag) for kind in kinds if kind is not ItemBase}
    items = values or {ItemBase: item_base_value()}

    def write(parent: Element, content: Any) -> None:
        for each in content if many else (content,):
            items[type(each)].write(parent, each)

    return _Field(
        name=name,
        reads={tag: value.read for value in items.values() for tag in value.tags},
        held=Held.EACH if many else Held.ONE,
        write=write,
        required=not many and not optional and default is dataclasses.MISSING,
        nothing=() if many else None,
    )


def _plan(cls: type) -> _Plan:
    plan = _PLANS.get(cls)
    if plan is None:
        plan = _PLANS[cls] = _compile(cls)
    return plan


def _compile(cls: type) -> _Plan:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: list[_Field] = []
    attributes: list[_Attribute] = []
    for field in dataclasses.fields(cls):
        hint, marker = typing.get_args(hints[field.name])[:2]
        assert typing.get_origin(hints[field.name]) is Annotated
        match marker:
            case A(name=name):
                attributes.append(_Attribute(field.name, clark(name)))
            case E():
                fields.append(_compile_path(field.name, marker, hint, field.default))
            case Choice():
                fields.append(_compile_choice(field.name, hint, field.default))
    layout = layout_of(cls)
    blank = {field.name: field.nothing for field in fields if not field.required}
    blank |= {attribute.name: None for attribute in attributes}
    read = class_reader(
        cls,
        {tag: Part(field.name, read, field.held) for field in fields for tag, read in field.reads.items()},
        tuple((each.name, each.attribute) for each in attributes),
        blank=blank,
        inside=layout.inside,
    )
    return _Plan(read, tuple(fields), tuple(attributes), layout.inside, layout.then)


# --- classes -----------------------------------------------------------------------------------------------


def _fill(element: Element, value: Any) -> None:
    plan = _plan(type(value))
    for attribute in plan.attributes:
        text = getattr(value, attribute.name)
        if text is not None:
            set_attribute(element, attribute.attribute, text)
    holder = etree.SubElement(element, plan.inside) if plan.inside else element
    for field in plan.fields:
        content = getattr(value, field.name)
        if content is not None:
            field.write(holder, content)
    if plan.then:
        etree.SubElement(element, plan.then)


def tag_of(cls: type[AnyMessage]) -> str:
    """Return a message class's element in Clark notation."""
    return layout_of(cls).tag


_BY_TAG: Final = {tag_of(cls): cls for cls in MESSAGE_TYPES}


def decode_element(cls: type[T], element: Element) -> T:
    """Return the dataclass an element stands for.

    Raises:
        InvalidValue: if a value cannot be represented or a required part is missing.
        NotModelled: if the element has a part this model leaves out on purpose.
    """
    return cast(T, _plan(cls).read(element))


def encode_element(value: object, tag: str) -> Element:
    """Return a dataclass as an element of the given name (Clark notation).

    Raises:
        InvalidValue: if a text holds a character XML cannot carry or a number is out of range.
    """
    root = etree.Element(tag, nsmap=_NSMAP)
    _fill(root, value)
    return root


def decode_message(payload: Element) -> AnyMessage:
    """Return the message inside an ``oadrPayload`` that has been validated.

    Raises:
        InvalidValue: as :func:`decode_element`.
        NotModelled: as :func:`decode_element`, and if there is not exactly one known message.
    """
    signed = payload.find(SIGNED_OBJECT)
    if payload.tag != PAYLOAD or signed is None:
        raise NotModelled(
            f"the root is {etree.QName(payload).localname}, not an oadrPayload with an oadrSignedObject"
        )
    return decode_signed_object(signed)


def decode_signed_object(signed: Element) -> AnyMessage:
    """Return the one message of an ``oadrSignedObject``; what a verified signature covered is passed here."""
    children = [child for child in signed if isinstance(child.tag, str)]
    cls = _BY_TAG.get(cast(str, children[0].tag)) if len(children) == 1 else None
    if cls is None:
        raise NotModelled("an oadrSignedObject holds exactly one known message")
    return cast(AnyMessage, _plan(cls).read(children[0]))


def wrap_bare(root: Element) -> Element:
    """Return a message that stands alone inside an ``oadrPayload``; anything else as it is (G4)."""
    if root.tag not in _BY_TAG:
        return root
    payload = etree.Element(PAYLOAD, nsmap=_NSMAP)
    etree.SubElement(payload, SIGNED_OBJECT).append(root)
    return payload


def encode_message(message: AnyMessage) -> Element:
    """Return a message wrapped in ``oadrPayload/oadrSignedObject`` (always wrapped, G4).

    Raises:
        InvalidValue: as :func:`encode_element`.
    """
    payload = etree.Element(PAYLOAD, nsmap=_NSMAP)
    signed = etree.SubElement(payload, SIGNED_OBJECT)
    _fill(etree.SubElement(signed, tag_of(type(message))), message)
    return payload
