"""What the parser refuses, and that it refuses quickly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schemas.oadr20b import wire
from schemas.oadr20b.errors import (
    ForbiddenDoctype,
    InvalidValue,
    NotModelled,
    NotXml,
    SchemaViolation,
    TooLarge,
    WireError,
)
from schemas.oadr20b.model import Poll

POLL = wire.write(Poll(ven_id="ven-1")).split(b"?>", 1)[1].strip().decode()
BOMB = (
    '<!DOCTYPE oadrPayload [<!ENTITY e0 "lol">'
    + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    + "]>"
)
DOCTYPES = {
    "bare": "<!DOCTYPE oadrPayload>",
    "system": '<!DOCTYPE oadrPayload SYSTEM "http://127.0.0.1:9/x.dtd">',
    "public": '<!DOCTYPE a PUBLIC "-//x" "file:///etc/passwd">',
    "internal entity": '<!DOCTYPE a [<!ENTITY x "y">]>',
    "external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>',
    "defaulted attribute": '<!DOCTYPE a [<!ATTLIST a b CDATA "c">]>',
    "laughs": BOMB,
}
PROLOGS = {
    "none": "",
    "declaration": '<?xml version="1.0" encoding="UTF-8"?>\n',
    "comment with a tag": "<!-- <oadrPayload> -->",
    "instruction with a tag": "<?x <oadrPayload> ?>",
    "long": '<?xml version="1.0"?>' + "<!-- <a --> <?b c?>\n" * 5000,
}


@contextmanager
def quickly(seconds: float = 1.0) -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def refused(body: bytes, *errors: type[WireError]) -> None:
    with quickly(), pytest.raises(errors):
        wire.read(body)


@pytest.mark.parametrize("prolog", PROLOGS.values(), ids=PROLOGS)
@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES)
def test_a_doctype_is_refused_wherever_it_stands(prolog: str, doctype: str) -> None:
    body = prolog + doctype + POLL.replace("ven-1", "&x;" if "ENTITY x " in doctype else "ven-1")
    refused(body.encode(), ForbiddenDoctype)
    refused(b"\xef\xbb\xbf" + body.encode(), ForbiddenDoctype)


@pytest.mark.parametrize(
    "encoding",
    ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037"],
)
@pytest.mark.parametrize("doctype", ["", *DOCTYPES.values()], ids=["no doctype", *DOCTYPES])
@pytest.mark.parametrize("declared", [False, True])
def test_other_encodings_are_refused_with_and_without_a_doctype(
    encoding: str, doctype: str, declared: bool
) -> None:
    prolog = f'<?xml version="1.0" encoding="{encoding}"?>' if declared else ""
    body = (prolog + doctype + POLL).encode(encoding)
    refused(body, NotXml, ForbiddenDoctype)
    refused("\ufeff".encode(encoding, "ignore") + body, NotXml, ForbiddenDoctype)
    refused("  ".encode(encoding) + body, NotXml, ForbiddenDoctype)


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "UTF-7", "GB18030", "Shift_JIS"])
def test_a_declared_encoding_other_than_utf8_is_refused(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?>{POLL}'.encode("ascii")
    refused(body, NotXml)


def test_a_doctype_hidden_by_utf7_is_refused() -> None:
    body = '<?xml version="1.0" encoding="UTF-7"?>' + (BOMB + POLL).encode("utf-7").decode("ascii")
    refused(body.encode("ascii").replace(b"<!DOCTYPE", b"+ADwAIQ-DOCTYPE"), NotXml, ForbiddenDoctype)


def test_an_unknown_encoding_is_refused() -> None:
    refused(f'<?xml version="1.0" encoding="nonesuch"?>{POLL}'.encode(), NotXml)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "US-ASCII"])
def test_utf8_and_its_subset_are_read(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?>{POLL}'.encode()
    assert wire.read(body) == Poll(ven_id="ven-1")


def test_a_byte_order_mark_of_utf8_is_read() -> None:
    assert wire.read(b"\xef\xbb\xbf" + POLL.encode()) == Poll(ven_id="ven-1")


def test_bytes_that_are_not_utf8_are_refused() -> None:
    refused(POLL.encode().replace(b"ven-1", b"ven-\xff"), NotXml)
    refused(POLL.encode().replace(b"ven-1", b"ven-\xed\xa0\x80"), NotXml)  # a surrogate


def test_the_word_doctype_in_a_comment_or_a_text_is_no_doctype() -> None:
    body = "<!-- <!DOCTYPE a> -->" + POLL.replace("ven-1", "&lt;!DOCTYPE a>")
    assert wire.read(body.encode()) == Poll(ven_id="<!DOCTYPE a>")


def test_entities_without_a_declaration_are_refused() -> None:
    refused(POLL.replace("ven-1", "&x;").encode(), NotXml)


@pytest.mark.parametrize("body", ["", " ", "<", "<a>", "no xml", "<a/><b/>", "<a b='1' b='2'/>", "<a:b/>"])
def test_what_is_no_document_is_refused(body: str) -> None:
    refused(body.encode(), NotXml)


def test_depth_bombs_are_refused() -> None:
    refused(b"<a>" * 300_000, NotXml)
    refused(b"<a>" * 140_000 + b"</a>" * 140_000, NotXml)
    deep = "<x>" * 200 + "</x>" * 200
    refused(POLL.replace("ven-1", deep).encode(), SchemaViolation)


def test_breadth_bombs_end_quickly() -> None:
    refused(("<a " + " ".join(f'b{i}=""' for i in range(90_000)) + "/>").encode(), SchemaViolation)
    refused(("<a " + " ".join(f'xmlns:b{i}="c"' for i in range(50_000)) + "/>").encode(), SchemaViolation)
    refused(("<a>" + "<b/>" * 240_000 + "</a>").encode(), SchemaViolation)
    refused(b"<!--" + b"<?" * 400_000, NotXml)
    refused(b"<!---->" * 140_000, NotXml)


def test_many_repeated_elements_are_read_in_linear_time() -> None:
    ids = "<ei:groupID/>" * 60_000
    event = "http://docs.oasis-open.org/ns/energyinterop/201110"
    body = f"""<oadr:oadrPayload xmlns:oadr="http://openadr.org/oadr-2.0b/2012/07" xmlns:ei="{event}"
      xmlns:pyld="{event}/payloads"><oadr:oadrSignedObject><oadr:oadrCreateOpt><ei:optID/>
      <ei:optType>optIn</ei:optType><ei:optReason>economic</ei:optReason><ei:venID/>
      <ei:createdDateTime>2018-05-16T00:00:00Z</ei:createdDateTime><pyld:requestID/>
      <ei:eiTarget>{ids}</ei:eiTarget></oadr:oadrCreateOpt></oadr:oadrSignedObject></oadr:oadrPayload>"""
    with quickly(2.0):
        wire.read(body.encode())


def test_size_limit_is_checked_before_parsing() -> None:
    body = POLL.encode()
    assert wire.read(body, max_bytes=len(body)) == Poll(ven_id="ven-1")
    refused(b"<" * (wire.MAX_BYTES + 1), TooLarge)
    with pytest.raises(TooLarge) as caught:
        wire.read(body, max_bytes=len(body) - 1)
    assert caught.value.http_status == 413


GREEN_BUTTON = {
    "atom, valid or not": '<a:feed xmlns:a="http://www.w3.org/2005/Atom"/>',
    "atom below": '<x><y><a:entry xmlns:a="http://www.w3.org/2005/Atom"/></y></x>',
    "espi": '<g:IntervalBlock xmlns:g="http://naesb.org/espi"/>',
}


@pytest.mark.parametrize("content", GREEN_BUTTON.values(), ids=GREEN_BUTTON)
def test_green_button_is_refused_before_validation(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(root: object) -> None:
        raise AssertionError("validated")

    monkeypatch.setattr(wire, "validate", never)
    refused(POLL.replace("ven-1", content).encode(), NotModelled)


def test_two_messages_in_one_signed_object_are_refused() -> None:
    start, end = POLL.index("<oadr:oadrPoll"), POLL.index("</oadr:oadrSignedObject>")
    message = POLL[start:end]
    refused(POLL.replace(message, message * 2).encode(), SchemaViolation)
    refused(POLL.replace(message, "").encode(), SchemaViolation)


def test_two_signed_objects_are_refused() -> None:
    start, end = POLL.index("<oadr:oadrSignedObject"), POLL.index("</oadr:oadrPayload>")
    refused(POLL.replace(POLL[start:end], POLL[start:end] * 2).encode(), SchemaViolation)


def test_a_bare_message_as_root_is_refused_though_the_schema_knows_it() -> None:
    root = wire.parse_unvalidated(POLL.encode())[0][0]
    wire.validate(root)
    refused(wire.serialise(root), NotModelled)


def test_an_unknown_element_and_a_wrong_order_are_refused() -> None:
    refused(POLL.replace("<ei:venID>", "<ei:vtnID/><ei:venID>").encode(), SchemaViolation)
    refused(POLL.replace("ei:venID", "ei:vtnID").encode(), SchemaViolation)


def test_fault_texts_stay_short() -> None:
    for body in (POLL.replace("2.0b", "x" * 500_000), POLL.replace("ei:venID", "ei:" + "y" * 90_000)):
        with pytest.raises(WireError) as caught:
            wire.read(body.encode())
        assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("text", ["\x00", "\x01", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_characters_that_xml_cannot_carry_are_refused_on_writing(text: str) -> None:
    with pytest.raises(InvalidValue):
        wire.write(Poll(ven_id=f"a{text}"))
    with pytest.raises(InvalidValue):
        wire.write(Poll(ven_id="a", schema_version=f"x-{text}"))
