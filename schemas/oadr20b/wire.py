"""Bytes to messages and back: the safe parser, the official schema, and the wrapping.

A body goes through these steps, each of which may end it with a :class:`WireError`: size, encoding, doctype,
parsing without entities or network, refusal of Atom and Green Button content, the official XSD, decoding.
The parser never validates while it parses: that combination crashes the process on some hostile documents.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Final

from lxml import etree

from schemas.oadr20b.codec import decode_message, encode_message, wrap_bare
from schemas.oadr20b.errors import ForbiddenDoctype, NotModelled, NotXml, SchemaViolation, TooLarge
from schemas.oadr20b.model import AnyMessage

__all__ = ["MAX_BYTES", "parse", "read", "schema_path", "serialise", "validate", "write"]

MAX_BYTES: Final = 1_000_000
"""Default limit of a body. The largest ordinary message, a report of a day in minutes, has 700 kB."""

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
    root = parse_unvalidated(data, max_bytes=max_bytes)
    if next(root.iter(*_GREEN_BUTTON), None) is not None:
        raise NotModelled("Green Button (Atom) content is not accepted")
    if bare_root:
        root = wrap_bare(root)
    validate(root)
    return root


def parse_unvalidated(data: bytes, *, max_bytes: int = MAX_BYTES) -> etree._Element:
    """Return the root of a body that is safe to read; see :func:`parse` for the errors."""
    if len(data) > max_bytes:
        raise TooLarge(f"{len(data)} bytes, the limit is {max_bytes}")
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
    if not schema.validate(root):
        first = schema.error_log[0] if len(schema.error_log) else None
        raise SchemaViolation(f"line {first.line}: {first.message[:500]}" if first else "invalid")


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
