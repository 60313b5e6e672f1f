"""Clients that take their time: half heads, half bodies, unread answers, connections that say nothing.

They knock at the VTN whose limits are half a second, in the same process as everybody else's. What is asked
is that each is put out, and that a neighbour at another port of the process does not notice. That the limits
leave honest clients alone is asked in ``tests/e2e/test_connection_limits.py`` and ``test_patient_tls.py``.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Final

from certs.connections import Closed
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from tests.e2e.tls_parties import HOST
from tests.security.attack import Attack
from tests.security.grounds import Ground
from tests.security.grounds_child import SLOW_CONNECTIONS
from tests.security.wire_tap import answers, request
from tests.unit.vtn.rig import ALICE

__all__ = ["ATTACKS"]

POLL: Final = wire.write(m.Poll(ven_id=ALICE))
_ANSWERED: Final = "408"
_SMALL: Final = 4096


def _ended(connection: socket.socket) -> bytes:
    """Return all that comes until the server ends a connection; fail if it does not."""
    found = b""
    try:
        while data := connection.recv(1 << 16):
            found += data
    except (ConnectionError, ssl.SSLError):
        pass
    return found


def _counted(ground: Ground, why: Closed) -> int:
    stats = ground.ask("stats")
    assert isinstance(stats, dict)
    return int(stats["slow"].get(why, 0))


def _sends(first: bytes, ground: Ground) -> str:
    """Send something that is not the whole of a head, and then nothing."""
    before = _counted(ground, Closed.SLOW_HEAD)
    with closing(ground.tap("slow").connect()) as connection:
        connection.sendall(first)
        assert _ended(connection) == b""
    assert _counted(ground, Closed.SLOW_HEAD) == before + 1
    return Closed.SLOW_HEAD


def _trickles(ground: Ground) -> str:
    """Send a head byte by byte, never done: a little progress does not buy more time."""
    with closing(ground.tap("slow").connect()) as connection:
        connection.settimeout(0.05)
        try:
            for byte in request(body=POLL) + b" " * 400:
                connection.sendall(bytes([byte]))
                try:
                    if not connection.recv(1):
                        return Closed.SLOW_HEAD
                except TimeoutError:
                    pass
        except (ConnectionError, ssl.SSLError):
            return Closed.SLOW_HEAD
    return "served"


def _body(sent: int, ground: Ground) -> str:
    """Send a head and a part of the body."""
    whole = request(body=POLL)
    with closing(ground.tap("slow").connect()) as connection:
        connection.sendall(whole[: len(whole) - len(POLL) + sent])
        return str(answers(_ended_after_answer(connection))[0].status)


def _ended_after_answer(connection: socket.socket) -> bytes:
    found = b""
    while not answers(found):
        data = connection.recv(1 << 16)
        assert data, found
        found += data
    return found


def _reader(ground: Ground) -> str:
    """Ask and ask, and read nothing of what comes back."""
    before = _counted(ground, Closed.SLOW_READER)
    many = request(body=POLL) * 200
    with closing(ground.tap("slow").connect(receive_buffer=_SMALL)) as connection:
        try:
            for _ in range(2000):
                connection.sendall(many)
        except OSError:
            pass
    assert _counted(ground, Closed.SLOW_READER) == before + 1
    return Closed.SLOW_READER


def _handshakes(ground: Ground) -> str:
    """Take every connection there is, and never begin with TLS."""
    before = _counted(ground, Closed.HANDSHAKE)
    with ExitStack() as stack:
        held = [
            stack.enter_context(
                closing(socket.create_connection((HOST, ground.tap("slow").port), timeout=20))
            )
            for _ in range(2 * SLOW_CONNECTIONS)
        ]
        assert not any(_ended(each) for each in held)
    assert _counted(ground, Closed.HANDSHAKE) > before
    assert _counted(ground, Closed.TOO_MANY) > 0
    assert ground.tap("slow").post(POLL).status == 200  # there is room again
    return Closed.HANDSHAKE


def _idle(ground: Ground) -> str:
    """Take every connection there is, with TLS, and say nothing."""
    tap = ground.tap("slow")
    refused = 0
    with ExitStack() as stack:
        held = []
        for _ in range(SLOW_CONNECTIONS + 6):
            try:
                held.append(stack.enter_context(closing(tap.connect())))
            except OSError:
                refused += 1
        assert not any(_ended(each) for each in held)
    assert ground.tap("slow").post(POLL).status == 200
    return Closed.SLOW_HEAD


def _attacks() -> Iterator[Attack]:
    head = request(body=POLL)
    for name, first in (
        ("nothing is sent", b""),
        ("half a request line", b"POST /OpenADR2"),
        ("a head without end", head[: head.index(b"\r\n\r\n")]),
    ):
        yield Attack(topic="slow", name=name, run=partial(_sends, first), refusals=(Closed.SLOW_HEAD,))
    yield Attack(topic="slow", name="a head byte by byte", run=_trickles, refusals=(Closed.SLOW_HEAD,))
    for name, sent in (("no body", 0), ("half a body", len(POLL) // 2), ("all but a byte", len(POLL) - 1)):
        yield Attack(topic="slow", name=name, run=partial(_body, sent), refusals=(_ANSWERED,))
    yield Attack(topic="slow", name="answers are not read", run=_reader, refusals=(Closed.SLOW_READER,))
    yield Attack(topic="slow", name="no handshake", run=_handshakes, refusals=(Closed.HANDSHAKE,))
    yield Attack(topic="slow", name="idle connections", run=_idle, refusals=(Closed.SLOW_HEAD,))


ATTACKS = tuple(_attacks())
