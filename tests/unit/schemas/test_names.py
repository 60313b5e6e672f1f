"""What the parser may remember: names that peers invent do not make the process grow."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from lxml import etree

from schemas.oadr20b import wire
from schemas.oadr20b.errors import NotXml, SchemaViolation, WireError
from schemas.oadr20b.model import Poll
from schemas.oadr20b.names import NameBook

POLL = wire.write(Poll(ven_id="ven-1"))
PLAIN = {
    "declared": b'<?xml version="1.0" encoding="utf-8"?><a/>',
    "byte order mark": b'\xef\xbb\xbf<?xml version="1.0"?><a/>',
    "prefixed": b'<p:a xmlns:p="urn:p"/>',
    "single quotes": b"<a b='x' ><a/></a >",
    "indented": b"<a>\n                                   <b/>\r\n" + b"\t" * 30 + b"<b/></a>",
    "text": b"<a>q &amp; &#x41; q</a>",
    "values": b'<a b="urn:other zzz=1 x/y"/>',
}
UNKNOWN: dict[str, tuple[bytes, frozenset[bytes]]] = {
    "element": (b"<z/>", frozenset({b"z"})),
    "end tag": (b"<a></z>", frozenset({b"z"})),
    "attribute": (b'<a z="1"/>', frozenset({b"z"})),
    "prefix": (b'<a xmlns:z="urn:p"/>', frozenset({b"z"})),
    "undeclared prefix": (b"<z:a/>", frozenset({b"z"})),
    "namespace": (b'<a xmlns="urn:z"/>', frozenset({b"urn:z"})),
    "namespace, single quotes": (b"<a xmlns:p='urn:z'/>", frozenset({b"urn:z"})),
    "white space": (b"<a> \t \t \t \t \t \t \t \t \t </a>", frozenset({b" \t \t \t \t \t \t \t \t \t "})),
    "last of an open tag": (b"<z ", frozenset({b"z"})),
    "not ASCII": ("<a\u00e9/>".encode(), frozenset({"a\u00e9".encode()})),
}
NOT_FOLLOWED = {
    "entity": b"<a>&z;</a>",
    "comment": b"<a><!-- <z> --></a>",
    "character data": b"<a><![CDATA[<z>]]></a>",
    "instruction": b"<?z?><a/>",
    "declaration in the middle": b"<a/><?xml version='1.0'?>",
    "encoding": b'<?xml version="1.0" encoding="utf-7"?><a/>',
    "greater-than in a value": b'<a b="x>y" z="1"/>',
    "attribute without a value": b"<a z>",
    "colons": b"<p:a:z/>",
    "no space between attributes": b'<a b="1"z="2"/>',
    "many": b"".join(b"<z%d/>" % i for i in range(50)),
}


def book(room: int = 10) -> NameBook:
    return NameBook(("a", "b", "p", "urn:p", "xmlns"), room=room)


@pytest.mark.parametrize("body", PLAIN.values(), ids=PLAIN)
def test_a_body_of_known_names_is_plain(body: bytes) -> None:
    known = book()
    assert known.is_plain(body)
    assert known.is_plain(body)  # as remembered


@pytest.mark.parametrize(("body", "names"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_name_is_found_until_it_is_learned(body: bytes, names: frozenset[bytes]) -> None:
    known = book()
    assert known.unknown(body) == names
    known.learn(names)
    assert known.is_plain(body)


@pytest.mark.parametrize("body", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_what_cannot_be_followed_is_not_plain(body: bytes) -> None:
    assert book().unknown(body) is None


def test_only_so_many_and_so_long_names_are_learned() -> None:
    known = book(room=2)
    known.learn(frozenset({b"x" * 1000}))
    known.learn(frozenset({b"1", b"2", b"3"}))
    assert len(known) == 5
    known.learn(frozenset({b"1", b"2"}))
    known.learn(frozenset({b"3"}))
    assert len(known) == 7
    assert known.unknown(b"<3/>") == frozenset({b"3"})


def renamed(prefix: str) -> bytes:
    return POLL.replace(b"oadr:", f"{prefix}:".encode()).replace(b"xmlns:oadr", f"xmlns:{prefix}".encode())


def threads_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note in which thread each body is parsed."""
    seen: list[str] = []
    parse = etree.fromstring

    def noted(data: bytes, parser: etree.XMLParser) -> etree._Element:
        seen.append(threading.current_thread().name)
        return parse(data, parser)

    monkeypatch.setattr(etree, "fromstring", noted)
    return seen


def test_strange_bodies_are_parsed_apart_until_their_names_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.current_thread().name
    seen = threads_of(monkeypatch)
    fresh = NameBook(wire._schema_names())
    monkeypatch.setattr(wire, "_names", lambda: fresh)
    assert wire.read(POLL) == Poll(ven_id="ven-1")
    assert seen == [here]
    assert wire.read(renamed("queer")) == Poll(ven_id="ven-1")
    assert wire.read(renamed("queer")) == Poll(ven_id="ven-1")
    assert seen[1:] == ["strange body", here]
    for _ in range(2):  # what is not valid is never learned
        with pytest.raises(SchemaViolation):
            wire.read(b"<oadrQueer/>")
    assert seen[3:] == ["strange body"] * 2


def test_without_a_thread_to_be_had_a_strange_body_is_parsed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert wire.read(b"<!-- -->" + POLL.split(b"?>", 1)[1]) == Poll(ven_id="ven-1")
    with pytest.raises(NotXml):
        wire.read(b"<!-- -->")


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_memory_is_flat_under_invented_names() -> None:
    """In place, the 200,000 names of these bodies would take 14 MB."""

    def play(first: int, count: int) -> None:
        for k in range(first, first + count):
            names = "".join(f'<a{k}x{i} b{k}x{i}=""/>' for i in range(20))
            with pytest.raises(WireError):
                wire.read(f'<x xmlns="urn:y{k}">{names}</x>'.encode())
            if k % 10 == 0:
                assert wire.read(renamed(f"q{k}")) == Poll(ven_id="ven-1")

    play(0, 1000)
    before = rss_mb()
    play(10_000, 5000)
    assert rss_mb() - before < 4.0
