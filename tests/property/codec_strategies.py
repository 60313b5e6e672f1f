"""Hypothesis strategies for every OpenADR message, built from the declarations of the dataclasses.

What a declaration does not say (patterns, ranges, ids that must be unique) is in the tables at the top; the
comparison of the declarations with the schema is in tests/conformance/test_xsd_oracle.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from schemas.oadr20b import enums
from schemas.oadr20b.codec import MESSAGE_TYPES
from schemas.oadr20b.declare import A, E
from schemas.oadr20b.model import AnyMessage, FeatureCollection, Polygon, Report
from schemas.oadr20b.units import ItemBase, ItemKind, PowerAttributes, form_of
from schemas.oadr20b.xmltypes import Duration

T = TypeVar("T")

# XML 1.0 characters: no surrogates, no controls but tab, line feed and carriage return, no U+FFFE and U+FFFF.
XML_TEXT: Final = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"),
        st.sampled_from("\t\n\r<>&'\"] "),
    ),
    max_size=12,
)
_NAME: Final = st.text(st.sampled_from("abcXYZ019_-."), min_size=1, max_size=8)


def _open(kind: type[StrEnum]) -> st.SearchStrategy[str]:
    return st.sampled_from([member.value for member in kind]) | _NAME.map(lambda name: f"x-{name}")


_URI: Final = st.sampled_from(["", "http://feederloop.example/local-market", "urn:a:b", "a/../b?c=d#e"])
_BY_TAG: Final[dict[str, st.SearchStrategy[Any]]] = {
    "ei:responseCode": st.from_regex(r"[0-9]{3}", fullmatch=True),
    "ei:signalName": _open(enums.SignalName),
    "ei:optReason": _open(enums.OptReason),
    "ei:reportName": _open(enums.ReportName),
    "ei:reportType": _open(enums.ReportType),
    "ei:readingType": _open(enums.ReadingType),
    "oadr:oadrDataQuality": _open(enums.DataQuality),
    "ei:schemaVersion": _open(enums.ProfileName),
    "emix:marketContext": _URI,
    "ei:confidence": st.integers(0, 100),
    "gml:posList": st.lists(st.floats(-90, 90).map(repr), max_size=4).map(" ".join),
    "gml:id": st.just("to be numbered"),
}
AT_LEAST_ONE: Final = {(Report, "intervals")}
"""Tuples that may be absent but not empty; for the others the declaration says it (no default)."""

_PART: Final = st.integers(0, 10**9 - 1) | st.integers(0, 90)


@st.composite
def durations(draw: st.DrawFn) -> Duration:
    """Any duration; minus zero is zero, so a sign comes only with a length."""
    parts = {name: draw(_PART) for name in draw(st.sets(st.sampled_from(_DURATION_PARTS)))}
    return Duration(negative=any(parts.values()) and draw(st.booleans()), **parts)


_DURATION_PARTS: Final = ("years", "months", "days", "hours", "minutes", "seconds")


@st.composite
def item_bases(draw: st.DrawFn) -> ItemBase:
    """Any unit of measure that the schema accepts."""
    kind = draw(st.sampled_from(ItemKind))
    form = form_of(kind)
    description, units = form.description, form.units
    if kind is ItemKind.CUSTOM_UNIT:
        description, units = draw(XML_TEXT), draw(XML_TEXT)
    elif kind is ItemKind.TEMPERATURE:
        units = draw(st.sampled_from(["celsius", "fahrenheit"]))
    elif kind is ItemKind.POWER_REAL:
        units = draw(st.sampled_from(["W", "J/s"]))
    elif description is None:
        description = draw(st.sampled_from(["currency", "currencyPerKW", "currencyPerKWh"]))
        units = draw(st.sampled_from(["EUR", "CHF", "USD"]))
    assert description is not None
    assert units is not None
    return ItemBase(
        kind=kind,
        description=description,
        units=units,
        scale=draw(st.sampled_from(enums.SiScale)) if form.has_scale else None,
        attributes=draw(_power_attributes()) if form.has_attributes else None,
        pulse_factor=draw(_FLOATS) if form.has_pulse_factor else None,
    )


_FLOATS: Final = st.floats(allow_nan=False)
_DECIMALS: Final = st.decimals(-1000, 1000, places=3)


def _power_attributes() -> st.SearchStrategy[PowerAttributes]:
    return st.builds(PowerAttributes, hertz=_DECIMALS, voltage=_DECIMALS, ac=st.booleans())


_LEAVES: Final[dict[type, Callable[[], st.SearchStrategy[Any]]]] = {
    str: lambda: XML_TEXT,
    bool: st.booleans,
    int: lambda: st.integers(0, 2**32 - 1),
    float: lambda: _FLOATS,
    Decimal: lambda: _DECIMALS,
    datetime: lambda: st.datetimes(timezones=st.just(UTC)).map(lambda when: when.replace(microsecond=0)),
    Duration: durations,
    ItemBase: item_bases,
}


def _value(kind: type, tag: str) -> st.SearchStrategy[Any]:
    if tag in _BY_TAG:
        return _BY_TAG[tag]
    if kind in _LEAVES:
        return _LEAVES[kind]()
    if issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    return instances(kind)


def _field(cls: type, field: dataclasses.Field[Any], hint: Any, marker: object) -> st.SearchStrategy[Any]:
    tag = ""
    if isinstance(marker, A):
        tag = marker.name
    elif isinstance(marker, E):
        tag = marker.path.split("/")[-1].rstrip("*")
    alternatives = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    strategies: list[st.SearchStrategy[Any]] = []
    for kind in alternatives:
        if kind is type(None):
            strategies.append(st.none())
        elif typing.get_origin(kind) is tuple:
            inner = typing.get_args(kind)[0]
            kinds = typing.get_args(inner) if isinstance(inner, types.UnionType) else (inner,)
            least = field.default is dataclasses.MISSING or (cls, field.name) in AT_LEAST_ONE
            items = st.one_of([_value(each, tag) for each in kinds])
            strategies.append(st.lists(items, min_size=int(least), max_size=2).map(tuple))
        else:
            strategies.append(_value(kind, tag))
    return st.one_of(strategies)


_BUILT: Final[dict[type, st.SearchStrategy[Any]]] = {}


def instances(cls: type[T]) -> st.SearchStrategy[T]:
    """Instances of a declared dataclass."""
    if cls not in _BUILT:
        _BUILT[cls] = _instances(cls)
    return _BUILT[cls]


def _instances(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    parts = {
        field.name: _field(cls, field, *typing.get_args(hints[field.name])[:2])
        for field in dataclasses.fields(cls)
    }
    return st.builds(cls, **parts)


def _numbered(value: Any, numbers: Iterator[int]) -> Any:
    """Return the value with every gml:id unique, as xs:ID demands of a document."""
    if isinstance(value, tuple):
        return tuple(_numbered(each, numbers) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changed = {
        field.name: _numbered(getattr(value, field.name), numbers) for field in dataclasses.fields(value)
    }
    if isinstance(value, FeatureCollection | Polygon) and value.id is not None:
        changed["id"] = f"id-{next(numbers)}"
    return dataclasses.replace(value, **changed)


def messages_of(cls: type[T]) -> st.SearchStrategy[T]:
    """Messages of one type that the official schema accepts."""
    return instances(cls).map(lambda message: typing.cast(T, _numbered(message, itertools.count())))


MESSAGES: Final[st.SearchStrategy[AnyMessage]] = st.sampled_from(MESSAGE_TYPES).flatmap(messages_of)
