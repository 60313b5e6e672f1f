"""Frozen dataclasses to JSON text and back, driven by their annotations.

Supported: dataclasses, ``tuple[T, ...]``, optional and union types, text, whole and decimal numbers, truth
values, date-times, lengths of time and enumerations. A union of several dataclasses is told apart by the
name of the class under ``"is"``. A field that is missing in the text takes its default, so that a class can
grow; a field that is unknown is an error. Fields that a class works out itself are not written.

Classes that are named as shared are read once per text: whoever reads many aggregates of one make gets the
same objects, which takes less memory and less time. So they have to be immutable.
"""

from __future__ import annotations

import dataclasses
import json
import marshal
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NewType, TypeVar

__all__ = ["JsonForm", "NotStorable"]

T = TypeVar("T")


_MOST_SHARED: Final = 4096
"""How many objects are remembered; then it begins anew."""
_PLAIN: Final = 2
"""The newest version of marshal whose bytes depend on the value only, not on how often it is referred to."""


class NotStorable(TypeError):
    """A type or a text that this converter does not handle."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How one type is written and read."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


_LEAVES: Final[dict[type, _Form]] = {
    str: _Form(_same, _same),
    int: _Form(_same, _same),
    bool: _Form(_same, _same),
    float: _Form(float, float),
    datetime: _Form(datetime.isoformat, datetime.fromisoformat),
    timedelta: _Form(lambda value: value / timedelta(microseconds=1), lambda us: timedelta(microseconds=us)),
    Decimal: _Form(str, Decimal),
}


class JsonForm(typing.Generic[T]):
    """The converter of one class.

    Args:
        cls: A dataclass; it is compiled here, so an unsupported type shows at once.
        shared: Frozen dataclasses in it whose equal texts are read as one object.

    Raises:
        NotStorable: if a field has a type this converter does not handle.
    """

    def __init__(self, cls: type[T], shared: tuple[type, ...] = ()) -> None:
        self._compiled: dict[type, _Form] = {}
        self._shared = shared
        self._found: dict[tuple[type, bytes], Any] = {}
        self._form = self._of(cls)

    def dumps(self, value: T) -> str:
        """Return the value as JSON text."""
        return json.dumps(self._form.write(value), separators=(",", ":"), ensure_ascii=False)

    def loads(self, text: str) -> T:
        """Return the value of a text.

        Raises:
            NotStorable: if the text is not one :meth:`dumps` writes.
        """
        try:
            return typing.cast(T, self._form.read(json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise NotStorable(f"not readable: {err}") from err

    def _of(self, hint: Any) -> _Form:
        if isinstance(hint, NewType):
            return self._of(hint.__supertype__)
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            return self._of(typing.get_args(hint)[0])
        if origin in (types.UnionType, typing.Union):
            return self._union(typing.get_args(hint))
        if origin is tuple:
            args = typing.get_args(hint)
            if len(args) != 2 or args[1] is not Ellipsis:
                raise NotStorable(f"{hint}")
            return self._tuple(self._of(args[0]))
        if isinstance(hint, type) and hint in _LEAVES:
            return _LEAVES[hint]
        if isinstance(hint, type) and issubclass(hint, Enum):
            return _Form(lambda value: value.value, hint)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self._dataclass(hint)
        raise NotStorable(f"{hint}")

    @staticmethod
    def _tuple(item: _Form) -> _Form:
        return _Form(
            lambda value: [item.write(each) for each in value],
            lambda value: tuple(item.read(each) for each in value),
        )

    def _union(self, hints: tuple[Any, ...]) -> _Form:
        kinds = [hint for hint in hints if hint is not type(None)]
        inner = self._of(kinds[0]) if len(kinds) == 1 else self._tagged(kinds)
        if len(kinds) == len(hints):
            return inner
        return _Form(
            lambda value: None if value is None else inner.write(value),
            lambda value: None if value is None else inner.read(value),
        )

    def _tagged(self, kinds: list[Any]) -> _Form:
        forms: dict[str, _Form] = {}
        for kind in kinds:
            if not (dataclasses.is_dataclass(kind) and isinstance(kind, type)):
                raise NotStorable(f"a union with {kind}")
            forms[kind.__name__] = self._of(kind)

        def write(value: Any) -> Any:
            name = type(value).__name__
            return {"is": name, **forms[name].write(value)}

        def read(value: Any) -> Any:
            rest = {key: each for key, each in value.items() if key != "is"}
            return forms[value["is"]].read(rest)

        return _Form(write, read)

    def _dataclass(self, cls: type) -> _Form:
        if cls in self._compiled:
            return self._compiled[cls]
        hints = typing.get_type_hints(cls)
        given = [field for field in dataclasses.fields(cls) if field.init]
        fields = {field.name: self._of(hints[field.name]) for field in given}
        defaults = {field.name: field.default for field in given if field.default is not dataclasses.MISSING}

        def write(value: Any) -> Any:
            found = ((name, getattr(value, name)) for name in fields)
            return {
                name: fields[name].write(each)
                for name, each in found
                if not (name in defaults and each == defaults[name])
            }

        def read(value: Any) -> Any:
            return cls(**{name: fields[name].read(each) for name, each in value.items()})

        form = self._compiled[cls] = _Form(write, self._once(cls, read) if cls in self._shared else read)
        return form

    def _once(self, cls: type, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a reader that reads equal texts once."""
        found = self._found

        def read_once(value: Any) -> Any:
            key = (cls, marshal.dumps(value, _PLAIN))
            known = found.get(key)
            if known is None:
                if len(found) >= _MOST_SHARED:
                    found.clear()
                known = found[key] = read(value)
            return known

        return read_once
