"""How a dataclass says which XML it stands for.

A field carries its element in its annotation: ``request_id: Annotated[str, E("pyld:requestID")]``. The rest
follows from the type: ``T`` is one, ``T | None`` none or one, ``tuple[T, ...]`` any number. A path of several
steps goes through elements that only wrap; in a path to a tuple the last step repeats, or the one marked
``*``. ``tuple[...] | None`` tells an absent wrapper from an empty one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

__all__ = ["NAMESPACES", "A", "Choice", "E", "Layout", "clark", "element", "layout_of"]

NAMESPACES: Final = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
    "emix": "http://docs.oasis-open.org/ns/emix/2011/06",
    "power": "http://docs.oasis-open.org/ns/emix/2011/06/power",
    "scale": "http://docs.oasis-open.org/ns/emix/2011/06/siscale",
    "xcal": "urn:ietf:params:xml:ns:icalendar-2.0",
    "strm": "urn:ietf:params:xml:ns:icalendar-2.0:stream",
    "gml": "http://www.opengis.net/gml/3.2",
}
"""The prefixes we write; on reading only the namespace counts (pitfall 4)."""


def clark(name: str) -> str:
    """Return ``prefix:name`` in Clark notation, ``{namespace}name``."""
    prefix, local = name.split(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


@dataclass(frozen=True, slots=True)
class E:
    """The element that holds a field's value, as a path of ``prefix:name`` steps.

    Attributes:
        path: The steps, joined by ``/``.
        collapse: Whether white space in a text is collapsed on reading, as for xs:token, xs:anyURI and lists.
    """

    path: str
    collapse: bool = False


@dataclass(frozen=True, slots=True)
class A:
    """The attribute that holds a field's value; all of the schema's are tokens, so white space collapses."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The field is one of several classes, each with its own element (a choice or a substitution group)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a class says about its own element.

    Attributes:
        tag: The element in Clark notation; empty where each use names it.
        inside: A wrapper between the element and the fields, or empty.
        then: An empty element after the wrapper, or empty.
    """

    tag: str = ""
    inside: str = ""
    then: str = ""


_LAYOUT: Final = "__oadr_layout__"
_T = TypeVar("_T", bound=type)


def element(name: str = "", *, inside: str = "", then: str = "") -> Callable[[_T], _T]:
    """Return a class decorator that records the element a dataclass stands for."""

    def mark(cls: _T) -> _T:
        setattr(
            cls,
            _LAYOUT,
            Layout(
                tag=clark(name) if name else "",
                inside=clark(inside) if inside else "",
                then=clark(then) if then else "",
            ),
        )
        return cls

    return mark


def layout_of(cls: type) -> Layout:
    """Return what :func:`element` recorded for a class; an empty layout where it was not used."""
    layout = getattr(cls, _LAYOUT, None)
    return layout if isinstance(layout, Layout) else Layout()
