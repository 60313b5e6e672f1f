"""Bytes to messages and back: the safe parser, the official schema, and the wrapping.

A body goes through these steps, each of which may end it with a :class:`WireError`: size, encoding, doctype,
parsing without entities or network, refusal of Atom and Green Button content, the official XSD, decoding.
The parser never validates while it parses: that combination crashes the process on some hostile documents.

A body with names that may not stay in the dictionary of this thread (:mod:`schemas.oadr20b.names`) is parsed
in a thread of its own, for which the caller waits. Such a document lives off the dictionary of that thread,
and with the document the dictionary is gone. It costs about 0.1 ms.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Final

from lxml import etree

from schemas.oadr20b.codec import decode_message, encode_message, wrap_bare
from schemas.oadr20b.declare import NAMESPACES
from schemas.oadr20b.errors import ForbiddenDoctype, NotModelled, NotXml, SchemaViolation, TooLarge
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.names import NameBook

__all__ = ["MAX_BYTES", "parse", "read", "schema_path", "serialise", "validate", "write"]

MAX_BYTES: Final = 1_000_000
"""Default limit of a body. The largest ordinary message, a report of a day in minutes, has 700 kB."""

_XSD: Final = "http://www.w3.org/2001/XMLSchema"
_LARGE_BYTES: Final = 50_000
_CROWDED: Final = etree.XPath("boolean(//*[@*[101]])")
"""An element of the profile has three attributes at most; each wrong one costs the validator a fault."""
_GREEN_BUTTON: Final = ("{http://www.w3.org/2005/Atom}*", "{http://naesb.org/espi}*")
_PROLOG_THEN_DOCTYPE: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]++|<!--.*?-->|<\?.*?\?>)*+<!DOCTYPE", re.DOTALL
)
"""Only to refuse a doctype before its entities cost anything; the parsed document is asked again."""
_BOMS: Final = (
    b"\xff\xfe",
    b"\xfe\xff",
    b"\x00\x00\xfe\xff",
    b"\x00<",
    b"<\x00",
    b"\x2b\x2f\x76",
    b"\x4c\x6f\xa7",
)


def schema_path() -> Path:
    """Return the official oadr_20b.xsd, which ships inside the openleadr package.

    Raises:
        FileNotFoundError: if openleadr is not installed.
    """
    spec = importlib.util.find_spec("openleadr")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "schema" / "oadr_20b.xsd"
        if path.is_file():
            return path
    raise FileNotFoundError(
        "the openleadr package, which carries the official OpenADR schemas, is not installed"
    )


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(schema_path()))


_OFFSET: Final = re.compile(r"'[0-9-]{8,}T[0-9:.]+[+-][0-9]{1,2}(?::?[0-9]{2})?'")
_VALIDATING: Final = threading.Lock()
"""The schema object keeps the faults of the last document."""


@cache
def _names() -> NameBook:
    return NameBook(_schema_names())


def _schema_names() -> Iterator[str]:
    """Yield the names, namespaces and prefixes of the official schema, and what ordinary peers add."""
    yield from ("xml", "xmlns", "xsi", "http://www.w3.org/2001/XMLSchema-instance", "schemaLocation", "type")
    for path in schema_path().parent.glob("*.xsd"):
        root = etree.parse(path).getroot()
        for prefix, uri in root.nsmap.items():
            yield from (prefix or "", uri)
        for declared in root.iter(f"{{{_XSD}}}element", f"{{{_XSD}}}attribute"):
            yield declared.get("name", "")
    for prefix, uri in NAMESPACES.items():
        yield from (prefix, uri)


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)


def parse(data: bytes, *, max_bytes: int = MAX_BYTES, bare_root: bool = False) -> etree._Element:
    """Return the root of a body that is safe to read and valid against the official schema.

    With ``bare_root`` a message that stands alone is taken as if it were wrapped (G4).

    Raises:
        TooLarge: before anything is parsed.
        NotXml: if the body is not one well-formed UTF-8 document.
        ForbiddenDoctype: if it has a document type declaration.
        NotModelled: if it holds Atom (Green Button) content, which is refused before validation.
        SchemaViolation: if the official schema does not accept it.
    """
    _check_size(data, max_bytes)
    unknown = _names().unknown(data)
    root = _load(data, bare_root) if unknown == frozenset() else _load_apart(data, bare_root)
    validate(root)
    if unknown:
        _names().learn(unknown)
    return root


def _load_apart(data: bytes, bare_root: bool) -> etree._Element:
    """Do :func:`_load` in a thread of its own, and wait for it."""
    loaded: Future[etree._Element] = Future()

    def load() -> None:
        try:
            loaded.set_result(_load(data, bare_root))
        except BaseException as err:  # noqa: BLE001 - raised again by result()
            loaded.set_exception(err)

    thread = threading.Thread(target=load, name="strange body", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread to be had: better to remember a few names than to refuse a message
        return _load(data, bare_root)
    thread.join()
    return loaded.result()


def _load(data: bytes, bare_root: bool) -> etree._Element:
    root = parse_unvalidated(data, max_bytes=len(data))
    if next(root.iter(*_GREEN_BUTTON), None) is not None:
        raise NotModelled("Green Button (Atom) content is not accepted")
    if len(data) > _LARGE_BYTES and _CROWDED(root):
        raise SchemaViolation("an element has more than 100 attributes")
    return wrap_bare(root) if bare_root else root


def _check_size(data: bytes, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise TooLarge(f"{len(data)} bytes, the limit is {max_bytes}")


def parse_unvalidated(data: bytes, *, max_bytes: int = MAX_BYTES) -> etree._Element:
    """Return the root of a body that is safe to read, in this thread; see :func:`parse` for the errors.

    For bodies of our own: the names in it stay in memory.
    """
    _check_size(data, max_bytes)
    if data.startswith(_BOMS):
        raise NotXml("the body is not UTF-8")
    if _PROLOG_THEN_DOCTYPE.match(data):
        raise ForbiddenDoctype("document type declarations are not accepted")
    try:
        root = etree.fromstring(data, _parser())
    except (etree.XMLSyntaxError, ValueError) as err:
        raise NotXml(str(err)) from err
    info = root.getroottree().docinfo
    if info.doctype or info.internalDTD is not None:
        raise ForbiddenDoctype("document type declarations are not accepted")
    if (info.encoding or "UTF-8").upper() not in ("UTF-8", "UTF8", "US-ASCII", "ASCII"):
        raise NotXml(f"the body is {info.encoding}, not UTF-8")
    return root


def validate(root: etree._Element) -> None:
    """Check an element against the official schema.

    Raises:
        SchemaViolation: with the first fault the schema finds.
    """
    schema = _schema()
    with _VALIDATING:
        valid = schema.validate(root)
        first = None if valid or not len(schema.error_log) else schema.error_log[0]
    if not valid:
        raise SchemaViolation(_fault(first.line, first.message) if first else "invalid")


def _fault(line: int, message: str) -> str:
    """Return a fault the schema found, in words that help."""
    offset = " (rule 1: times are UTC and end with Z, without an offset)" if _OFFSET.search(message) else ""
    return f"line {line}: {message[:500]}{offset}"


def read(data: bytes, *, max_bytes: int = MAX_BYTES, bare_root: bool = False) -> AnyMessage:
    """Return the message in a body.

    Raises:
        WireError: one of its subclasses, and nothing else, for any bytes whatsoever.
    """
    return decode_message(parse(data, max_bytes=max_bytes, bare_root=bare_root))


def serialise(root: etree._Element) -> bytes:
    """Return an element as a UTF-8 document."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def write(message: AnyMessage) -> bytes:
    """Return a message as a body.

    Raises:
        InvalidValue: if a value of the message cannot be written.
    """
    return serialise(encode_message(message))
