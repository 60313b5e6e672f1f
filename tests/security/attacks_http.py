"""Bodies that are too large, requests that two servers would read differently, and heads that are none."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Final

from certs.pki import Role
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.security.attack import Attack, verdict
from tests.security.cast import credentials
from tests.security.grounds import Ground
from tests.security.wire_tap import PATH, Tap, request
from tests.unit.vtn.rig import ALICE

__all__ = ["ATTACKS"]

POLL = wire.write(m.Poll(ven_id=ALICE))
BIG: Final = 100 * 1024 * 1024
_PIECE: Final = bytes(1 << 16)
_CLOSE: Final = "Connection: close"
_XML: Final = {"Content-Type": "application/xml"}


def _at(server: str, ground: Ground) -> Tap:
    if server != "ven":
        return ground.tap(server)
    return ground.tap("ven", None, credentials(ground.folder, "localhost", role=Role.VTN))


def _service(server: str) -> ServiceName:
    return ServiceName.EI_EVENT if server == "ven" else ServiceName.OADR_POLL


# --- large -----------------------------------------------------------------------------------------------


def _large(server: str, ground: Ground) -> str:
    """100 MB with their length said, poured in without regard to the answer."""
    head = request(_service(server), f"Content-Length: {BIG}", length=False)
    found = _at(server, ground).flood(head, itertools.repeat(_PIECE, BIG // len(_PIECE)))
    assert found.taken_bytes < BIG, "all of it was read"
    return verdict(found.answer)


def _large_in_chunks(server: str, ground: Ground) -> str:
    """The same without a length."""
    head = request(_service(server), "Transfer-Encoding: chunked", length=False)
    chunk = b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE)
    found = _at(server, ground).flood(head, itertools.repeat(chunk, BIG // len(_PIECE)))
    assert found.taken_bytes < BIG, "all of it was read"
    return verdict(found.answer)


@cache
def _bomb(encoding: str) -> bytes:
    """Return 400 MB of blanks, packed into less than half a megabyte."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    blanks = b" " * (1 << 20)
    return b"".join(pack.compress(blanks) for _ in range(400)) + pack.flush()


def _packed(encoding: str, body: Callable[[], bytes], server: str, ground: Ground) -> str:
    headers = _XML | {"Content-Encoding": encoding}
    return verdict(_at(server, ground).post(body(), _service(server), headers))


def _packed_twice() -> bytes:
    return gzip.compress(_bomb("gzip"))


# --- ambiguous -------------------------------------------------------------------------------------------

_INNER: Final = request(ServiceName.EI_EVENT, body=wire.write(m.RequestEvent(request_id="e", ven_id=ALICE)))
"""A whole request, hidden in the body of another one; it would be answered with an oadrDistributeEvent."""


def _one_answer(raw: bytes, server: str, ground: Ground) -> str:
    """Send bytes that hold a hidden request; it must not be answered."""
    found = _at(server, ground).raw(raw)
    assert len(found) == 1, found
    return verdict(found[0])


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def _ambiguous() -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    poll = ServiceName.OADR_POLL
    chunked = "Transfer-Encoding: chunked"
    yield (
        "Content-Length and Transfer-Encoding",
        request(poll, "Content-Length: 4", chunked, _CLOSE, length=False) + b"0\r\n\r\n" + _INNER,
        ("400",),
    )
    yield (
        "Transfer-Encoding and Content-Length",
        request(poll, chunked, f"Content-Length: {len(_INNER)}", _CLOSE, length=False)
        + b"0\r\n\r\n"
        + _INNER,
        ("400",),
    )
    yield (
        "two Content-Lengths",
        request(poll, "Content-Length: 0", f"Content-Length: {len(_INNER)}", _CLOSE, length=False) + _INNER,
        ("400",),
    )
    for text in (f"+{len(_INNER)}", f"{len(_INNER)}, {len(_INNER)}", "-1", "0x10", "1_0", "", "1e3", "\xb2"):
        yield (
            f"Content-Length {text!r}",
            request(poll, f"Content-Length: {text}", _CLOSE, length=False) + _INNER,
            ("400",),
        )
    for text in ("xchunked", "chunked, identity", "chunked, chunked", "\x0bchunked", "gzip"):
        yield (
            f"Transfer-Encoding {text!r}",
            request(poll, f"Transfer-Encoding: {text}", _CLOSE, length=False) + _chunked(POLL) + _INNER,
            ("400", "406", "501"),
        )
    for name, size in (
        ("negative", b"-1"),
        ("of 2^64", b"10000000000000000"),
        ("no number", b"xyz"),
        ("0x", b"0x4"),
    ):
        yield (
            f"a chunk {name}",
            request(poll, chunked, _CLOSE, length=False) + size + b"\r\n" + _INNER,
            ("400",),
        )
    yield (
        "a blank before the colon",
        request(poll, f"Content-Length : {len(POLL)}", _CLOSE, length=False) + POLL,
        ("400",),
    )
    yield ("a folded header", request(poll, "X-A: b\r\n c: d", _CLOSE, body=POLL), ("400", "200/200"))
    yield (
        "a line feed alone",
        request(poll, "X-A: b\nTransfer-Encoding: chunked", _CLOSE, body=POLL),
        ("400",),
    )
    yield ("a carriage return alone", request(poll, "X-A: b\rX-C: d", _CLOSE, body=POLL), ("400",))
    yield ("a NUL in a header", request(poll, "X-A: b\x00c", _CLOSE, body=POLL), ("400",))
    yield ("a name that is none", request(poll, "X A: b", _CLOSE, body=POLL), ("400",))
    yield ("two hosts", request(poll, "Host: other", _CLOSE, body=POLL), ("400", "200/200"))
    yield ("a line of 9 kB", request(poll, "X-A: " + "b" * 9000, _CLOSE, body=POLL), ("400",))
    yield ("100 headers", request(poll, *(f"X-{n}: a" for n in range(100)), _CLOSE, body=POLL), ("400",))
    yield ("HTTP/0.9", f"GET {PATH}OadrPoll\r\n\r\n".encode(), ("400", "501"))
    yield ("HTTP/2 by preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ("400", "405", "501"))
    yield ("no HTTP", b"\x16\x03\x01\x02\x00" * 20 + b"\r\n\r\n", ("400",))


# --- elsewhere, otherwise --------------------------------------------------------------------------------


def _line(line: str, server: str, ground: Ground) -> str:
    """Send a poll under another request line."""
    raw = request(_service(server), _CLOSE, body=POLL)
    return _one_answer(line.encode("latin-1") + b"\r\n" + raw.partition(b"\r\n")[2], server, ground)


def _typed(headers: Mapping[str, str], server: str, ground: Ground) -> str:
    return verdict(_at(server, ground).post(POLL, _service(server), headers))


_LINES: Final = (
    ("GET", f"GET {PATH}OadrPoll HTTP/1.1", ("501",)),
    ("PUT", f"PUT {PATH}OadrPoll HTTP/1.1", ("501",)),
    ("TRACE", f"TRACE {PATH}OadrPoll HTTP/1.1", ("501",)),
    ("CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1", ("400", "404", "501")),
    ("a method of our own", f"HACK {PATH}OadrPoll HTTP/1.1", ("501", "400")),
    ("an absolute URI", "POST http://169.254.169.254/latest HTTP/1.1", ("404",)),
    ("another host", "POST //example.net/OpenADR2 HTTP/1.1", ("404",)),
    ("dot segments", f"POST {PATH}../../../../etc/passwd HTTP/1.1", ("404",)),
    ("dot segments, encoded", f"POST {PATH}%2e%2e/%2e%2e/etc/passwd HTTP/1.1", ("404",)),
    ("a NUL in the path", f"POST {PATH}OadrPoll%00 HTTP/1.1", ("404",)),
    ("a header by the path", f"POST {PATH}OadrPoll%0d%0aX-A:%20b HTTP/1.1", ("404",)),
    ("the operator's path", "POST /operator/vens HTTP/1.1", ("404",)),
    ("a service that is none", f"POST {PATH}EiQuote HTTP/1.1", ("404",)),
    ("other letters", f"POST {PATH.lower()}oadrpoll HTTP/1.1", ("404",)),
    ("a path of 9 kB", f"POST {PATH}{'x' * 9000} HTTP/1.1", ("400",)),
    ("HTTP/3.7", f"POST {PATH}OadrPoll HTTP/3.7", ("400", "200/200")),
)
_TYPES: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("JSON", {"Content-Type": "application/json"}),
    ("no type", {}),
    ("a form", {"Content-Type": "multipart/form-data; boundary=x"}),
    ("UTF-16", {"Content-Type": "application/xml; charset=utf-16"}),
    ("a charset that is none", {"Content-Type": 'application/xml; charset="no such"'}),
)


def _attacks() -> Iterator[Attack]:
    for server, topic in (("plain", "HTTP"), ("ven", "HTTP, VEN")):
        yield Attack(topic=topic, name="body of 100 MB", run=partial(_large, server), refusals=("413",))
        yield Attack(
            topic=topic, name="100 MB in chunks", run=partial(_large_in_chunks, server), refusals=("413",)
        )
        for encoding in ("gzip", "deflate"):
            yield Attack(
                topic=topic,
                name=f"{encoding} bomb",
                run=partial(_packed, encoding, partial(_bomb, encoding), server),
                refusals=("413",),
            )
        yield Attack(
            topic=topic,
            name="gzip bomb in gzip",
            run=partial(_packed, "gzip", _packed_twice, server),
            refusals=("406",),
        )
        for encoding in ("gzip", "br", "zstd"):
            yield Attack(
                topic=topic,
                name=f"says {encoding}, is none",
                run=partial(_packed, encoding, lambda: POLL, server),
                refusals=("400", "406"),
            )
    for name, raw, refusals in _ambiguous():
        yield Attack(topic="HTTP", name=name, run=partial(_one_answer, raw, "plain"), refusals=refusals)
    for name, line, refusals in _LINES:
        yield Attack(topic="HTTP", name=name, run=partial(_line, line, "plain"), refusals=refusals)
    for name, headers in _TYPES:
        yield Attack(topic="HTTP", name=name, run=partial(_typed, headers, "plain"), refusals=("406",))


ATTACKS = tuple(_attacks())
