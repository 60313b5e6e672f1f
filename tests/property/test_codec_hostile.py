"""Any bytes give a message or a WireError, and nothing else."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.oadr20b import wire
from schemas.oadr20b.codec import MESSAGE_TYPES
from schemas.oadr20b.errors import WireError
from tests.property.codec_strategies import MESSAGES

DATES = ["0000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "9999-12-31T24:00:00Z", "2018-05-16T24:00:00"]
DURATIONS = ["P", "-P", "5W", "P" + "9" * 400 + "D", "P" + "0" * 5000 + "D", "P٣D", "+PT1M", "12345678901W"]
OTHERS = ["1", "true", " 1 ", "4294967295", "+00000000000000000000000000000007", "-0", "1E5", "INF", "-INF"]
OTHERS += ["NaN", "1e400", "", " ", "x-a", " x-a  b ", "200", " 2.0b ", "simpleHttp", " optIn\n", "W", "EUR"]
RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SNIPPETS = st.sampled_from(
    [
        b"<x/>",
        b"</ei:venID>",
        b"<ei:venID>",
        b"<!-- c -->",
        b"<?pi x?>",
        b"<![CDATA[x]]>",
        b"&amp;",
        b"&x;",
        b"&#0;",
        b"\x00",
        b"\xff",
        b"<!DOCTYPE x>",
        b'<a:feed xmlns:a="http://www.w3.org/2005/Atom"/>',
        b' xsi:nil="true" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
        b' xsi:type="xs:token" xmlns:xs="http://www.w3.org/2001/XMLSchema"',
        b"9999999999999999999999",
        b"-",
        b" ",
        b"0",
        b"P",
    ]
)


def outcome(body: bytes) -> None:
    try:
        message = wire.read(body)
    except WireError:
        return
    assert isinstance(message, MESSAGE_TYPES)
    assert wire.read(wire.write(message)) is not None  # what was accepted can be said again


@RELAXED
@given(body=st.binary(max_size=300))
@example(body=b"")
@example(body=b"<")
@example(body=b"<?xml version='1.0' encoding='utf-16'?><a/>")
@example(body=b"\xef\xbb\xbf")
def test_any_bytes(body: bytes) -> None:
    outcome(body)


@RELAXED
@given(
    start=st.sampled_from([b"<", b"<?xml", b"<!DOCTYPE", b"<!--", b"\xef\xbb\xbf<"]),
    rest=st.text(max_size=80),
)
def test_anything_that_begins_like_a_document(start: bytes, rest: str) -> None:
    outcome(start + rest.encode("utf-8", "surrogatepass"))


@RELAXED
@given(message=MESSAGES, data=st.data())
def test_a_valid_message_with_damage(message: object, data: st.DataObject) -> None:
    assert isinstance(message, MESSAGE_TYPES)
    body = bytearray(wire.write(message))
    for _ in range(data.draw(st.integers(1, 4), label="wounds")):
        at = data.draw(st.integers(0, len(body) - 1), label="at")
        match data.draw(st.sampled_from(["flip", "cut", "drop", "insert", "repeat"]), label="wound"):
            case "flip":
                body[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
            case "cut":
                del body[at:]
            case "drop":
                del body[at : at + data.draw(st.integers(1, 30), label="bytes")]
            case "insert":
                body[at:at] = data.draw(SNIPPETS, label="snippet")
            case "repeat":
                body[at:at] = body[at : at + 60]
        if not body:
            break
    outcome(bytes(body))


@RELAXED
@given(message=MESSAGES, data=st.data())
def test_a_valid_message_with_other_values(message: object, data: st.DataObject) -> None:
    """Texts of leaves are replaced, so that more of the damage passes the schema and reaches the decoder."""
    assert isinstance(message, MESSAGE_TYPES)
    root = wire.parse_unvalidated(wire.write(message))
    leaves = [node for node in root.iter() if isinstance(node.tag, str) and len(node) == 0]
    values = st.sampled_from(DATES + DURATIONS + OTHERS)
    for _ in range(data.draw(st.integers(1, 3))):
        data.draw(st.sampled_from(leaves)).text = data.draw(values)
    outcome(wire.serialise(root))
