"""Documents that are made to hurt who reads them: each to a VTN, and to the listener of a push VEN."""

from __future__ import annotations

import codecs
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from certs.pki import Role
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import HOST
from tests.security.attack import Attack, verdict
from tests.security.cast import credentials
from tests.security.grounds import Ground
from tests.unit.vtn.rig import ALICE, update

__all__ = ["ATTACKS"]

POLL = wire.write(m.Poll(ven_id=ALICE))
ROOT = POLL.partition(b"?>")[2].strip()
REPORT = wire.write(update(ALICE, "r", [1.0]))
ATOM = b'xmlns:a="http://www.w3.org/2005/Atom"'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A document; ``MARK`` in it is replaced by the URL of somebody who listens."""

    name: str
    body: Callable[[], bytes]


def _with(doctype: bytes, text: bytes = b"") -> bytes:
    """Return a poll behind a document type declaration, with a text in its venID."""
    body = b'<?xml version="1.0" encoding="UTF-8"?>' + doctype + ROOT
    return body.replace(ALICE.encode(), text) if text else body


def _laughs() -> bytes:
    levels = b"".join(b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10))
    return _with(b'<!DOCTYPE x [<!ENTITY l0 "ha">' + levels + b"]>", b"&l9;")


def _quadratic() -> bytes:
    return _with(b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 100_000 + b'">]>', b"&a;" * 20_000)


def _wide(encoding: str, mark: bytes) -> bytes:
    text = _with(b"<!DOCTYPE x [<!ENTITY e 'x'>]>", b"&e;").decode().replace("UTF-8", encoding[:6].upper())
    return mark + text.encode(encoding)


def _in_venid(inside: bytes) -> bytes:
    return POLL.replace(ALICE.encode(), inside)


def _feed(inside: bytes) -> bytes:
    """Return a report whose payload is a Green Button feed."""
    start, _, rest = REPORT.partition(b"<oadr:oadrReportPayload>")
    _, _, end = rest.partition(b"</oadr:oadrReportPayload>")
    return (
        start
        + b"<oadr:oadrGBPayload><a:feed "
        + ATOM
        + b">"
        + inside
        + b"</a:feed></oadr:oadrGBPayload>"
        + end
    )


def _bushy(levels: int) -> bytes:
    """Return nested entries whose number doubles with each level, up to nearly the limit of a body."""
    entry = b"<a:id/>"
    for _ in range(levels):
        entry = b"<a:entry><a:content>" + entry * 2 + b"</a:content></a:entry>"
    return entry


def _two_messages() -> bytes:
    start = ROOT.index(b"<oadr:oadrPoll")
    end = ROOT.index(b"</oadr:oadrPoll>") + len(b"</oadr:oadrPoll>")
    return ROOT[:end] + ROOT[start:end] + ROOT[end:]


def _many_attributes() -> bytes:
    attributes = b"".join(b' a%x=""' % number for number in range(100_000))
    return POLL.replace(b"<ei:venID>", b"<ei:venID" + attributes + b">")


def _many_namespaces() -> bytes:
    spaces = b"".join(b' xmlns:n%d="urn:n%d"' % (number, number) for number in range(25_000))
    return POLL.replace(b"<ei:venID>", b"<ei:venID" + spaces + b"><n1:x/>")


_XXE = b'<!DOCTYPE x [<!ENTITY e SYSTEM "%s">]>'
_DOCUMENTS = (
    _Document(name="bare doctype", body=lambda: _with(b"<!DOCTYPE x>")),
    _Document(name="doctype after comments", body=lambda: _with(b"<!-- a --><?b c?>\n<!-- --><!DOCTYPE x>")),
    _Document(name="doctype after a BOM", body=lambda: codecs.BOM_UTF8 + _with(b"<!DOCTYPE x>")),
    _Document(name="doctype in small letters", body=lambda: _with(b"<!doctype x>")),
    _Document(name="external entity, file", body=lambda: _with(_XXE % b"file:///etc/passwd", b"&e;")),
    _Document(name="external entity, URL", body=lambda: _with(_XXE % b"MARK", b"&e;")),
    _Document(name="external DTD", body=lambda: _with(b'<!DOCTYPE x SYSTEM "MARK">')),
    _Document(
        name="parameter entity",
        body=lambda: _with(b'<!DOCTYPE x [<!ENTITY %% p SYSTEM "MARK"> %%p;]>'.replace(b"%%", b"%")),
    ),
    _Document(name="internal entity", body=lambda: _with(b'<!DOCTYPE x [<!ENTITY e "ven">]>', b"&e;")),
    _Document(name="entity that is not declared", body=lambda: _in_venid(b"&e;")),
    _Document(name="billion laughs", body=_laughs),
    _Document(name="quadratic blow-up", body=_quadratic),
    _Document(
        name="default attribute by DTD",
        body=lambda: _with(b'<!DOCTYPE x [<!ATTLIST x y CDATA "z">]>'),
    ),
    _Document(
        name="doctype in UTF-16, little end, BOM", body=lambda: _wide("utf-16-le", codecs.BOM_UTF16_LE)
    ),
    _Document(name="doctype in UTF-16, big end, BOM", body=lambda: _wide("utf-16-be", codecs.BOM_UTF16_BE)),
    _Document(name="doctype in UTF-16 without BOM", body=lambda: _wide("utf-16-le", b"")),
    _Document(name="doctype in UTF-32", body=lambda: _wide("utf-32-le", codecs.BOM_UTF32_LE)),
    _Document(name="doctype in UTF-7", body=lambda: _wide("utf-7", b"")),
    _Document(name="doctype in EBCDIC", body=lambda: _wide("cp037", b"")),
    _Document(name="says UTF-16, is UTF-8", body=lambda: POLL.replace(b"UTF-8", b"UTF-16")),
    _Document(name="says Latin-1", body=lambda: POLL.replace(b"UTF-8", b"ISO-8859-1")),
    _Document(name="nested 140,000 deep", body=lambda: _in_venid(b"<x>" * 140_000 + b"</x>" * 140_000)),
    _Document(name="nested 250 deep", body=lambda: _in_venid(b"<x>" * 250 + b"</x>" * 250)),
    _Document(name="never closed", body=lambda: b"<x>" * 300_000),
    _Document(name="100,000 attributes", body=_many_attributes),
    _Document(name="25,000 namespaces", body=_many_namespaces),
    _Document(name="a name of 900 kB", body=lambda: _in_venid(b"<" + b"x" * 900_000 + b"/>")),
    _Document(name="Green Button feed", body=lambda: _feed(b"")),
    _Document(name="Green Button feed, doubling", body=lambda: _feed(_bushy(13))),
    _Document(
        name="Green Button feed, deep",
        body=lambda: _feed(b"<a:entry>" * 200 + b"</a:entry>" * 200),
    ),
    _Document(
        name="Atom in a text",
        body=lambda: _in_venid(b"<a:feed " + ATOM + b"/>"),
    ),
    _Document(
        name="XInclude",
        body=lambda: _in_venid(
            b'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
        ),
    ),
    _Document(
        name="another type by xsi:type",
        body=lambda: POLL.replace(
            b"<ei:venID>",
            b'<ei:venID xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="oadr:oadrPollType">',
        ),
    ),
    _Document(name="two messages in one object", body=_two_messages),
    _Document(
        name="bare root", body=lambda: ROOT[ROOT.index(b"<oadr:oadrPoll") :].split(b"</oadr:oadrSigned")[0]
    ),
    _Document(name="two documents", body=lambda: ROOT + ROOT),
    _Document(name="a NUL", body=lambda: _in_venid(b"ven\x00")),
    _Document(name="a NUL by reference", body=lambda: _in_venid(b"&#0;")),
    _Document(name="cut off", body=lambda: POLL[:-20]),
    _Document(name="empty", body=lambda: b""),
    _Document(name="no XML", body=lambda: b'{"oadrPoll": {}}'),
)


class _Ear:
    """A port of ours that a server would connect to if it followed a URL in a document."""

    def __init__(self) -> None:
        self._socket = socket.create_server((HOST, 0))
        self._socket.setblocking(False)

    @property
    def url(self) -> bytes:
        return b"http://%s:%d/x.dtd" % (HOST.encode(), self._socket.getsockname()[1])

    def heard(self) -> bool:
        """Whether anybody came."""
        try:
            self._socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def _at_vtn(document: _Document, ground: Ground) -> str:
    with closing(_Ear()) as ear:
        body = document.body().replace(b"MARK", ear.url)
        found = verdict(ground.tap("plain").post(body))
        assert not ear.heard(), "the server has followed the URL"
    return found


def _at_ven(document: _Document, ground: Ground) -> str:
    shown = credentials(ground.folder, "localhost", role=Role.VTN)
    with closing(_Ear()) as ear:
        body = document.body().replace(b"MARK", ear.url)
        found = verdict(ground.tap("ven", None, shown).post(body, ServiceName.EI_EVENT))
        assert not ear.heard(), "the VEN has followed the URL"
    return found


def _attacks() -> Iterator[Attack]:
    for each in _DOCUMENTS:
        yield Attack(topic="XML", name=each.name, run=partial(_at_vtn, each), refusals=("406",))
    for each in _DOCUMENTS:
        yield Attack(topic="XML, VEN", name=each.name, run=partial(_at_ven, each), refusals=("406",))


ATTACKS = tuple(_attacks())
