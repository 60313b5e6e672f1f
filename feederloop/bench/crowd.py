"""A crowd of pull VENs in one process: as light as Python allows, so that the server is what is measured.

No HTTP client and no event loop: one epoll, a TLS socket and prebuilt bytes per VEN, a heap of who is next.
Every VEN polls at its own moment of the period, drawn once. A poll is due whether or not the former was quick
(an open loop), and its latency counts from when it was due, so that a server that stalls cannot hide it.

A context copies its certificate into each connection it makes, so one context serves them all, with the next
VEN's certificate loaded before its connection is made.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.oadr20b import wire
from schemas.oadr20b.model import Poll
from schemas.oadr20b.simple_http import CONTENT_TYPE, PATH

__all__ = ["Crew", "Seat", "Window", "request_bytes", "seat_of"]

_HANDSHAKES: Final = 32
"""How many connections are being made at once."""
_READ: Final = 65_536
_TURN_S: Final = 0.2
"""How long to wait for sockets when nobody is due."""


def request_bytes(host: str, service: str, body: bytes) -> bytes:
    """Return a POST as it goes over the wire."""
    head = (
        f"POST {PATH}{service} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


@dataclass(slots=True, kw_only=True)
class Window:
    """What was measured in a while.

    Attributes:
        latencies_s: From when a poll was due to when its reply was there.
        lags_s: From when it was due to when it was sent: the load generator's own part.
        seen_s: When each VEN was first given the version that is waited for, monotonic, by its number.
        missed: Whose poll after the publication came back without it.
        faults: What went wrong, with how often.
        other: Replies that were neither empty nor events.
    """

    began_s: float
    began_cpu_s: float
    latencies_s: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    seen_s: dict[int, float] = field(default_factory=dict)
    missed: set[int] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    other: int = 0


@dataclass(slots=True, eq=False)
class Seat:
    """One VEN."""

    number: int
    pem: Path
    request: bytes
    ven_id: bytes
    link: ssl.SSLSocket | None = None
    ready: bool = False
    due_s: float = 0.0
    asked_s: float = 0.0
    sent_s: float = 0.0
    waiting: bool = False
    fresh: bool = False
    unread: bytes = b""


class Crew:
    """The VENs of one process.

    Args:
        seats: They.
        address: Where the VTN listens.
        trust: The roots they trust.
        period_s: How often each polls.
        seed: Of the moments of the period at which they do.
    """

    def __init__(
        self, seats: Sequence[Seat], address: tuple[str, int], trust: Path, period_s: float, seed: int
    ) -> None:
        self._address = address
        self._period_s = period_s
        self._rng = random.Random(seed)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.load_verify_locations(trust)
        self._epoll = select.epoll()
        self._by_file: dict[int, Seat] = {}
        self._absent = list(reversed(seats))
        self._dues: list[tuple[float, int, Seat]] = []
        self._strangers = 0
        self._checked = False
        self.wanted: bytes = b""
        """The modificationNumber that is waited for, as it stands in a reply."""
        self.published_s = float("inf")
        """From when a poll has to bring it, monotonic."""
        self.window = self._new_window()

    @property
    def seated(self) -> int:
        """How many are connected."""
        return len(self._by_file) - self._strangers

    def _new_window(self) -> Window:
        return Window(began_s=time.monotonic(), began_cpu_s=time.process_time())

    def open_window(self) -> None:
        """Measure anew."""
        self.window = self._new_window()

    def watch(self, file: int) -> None:
        """Return from :meth:`turn` when a file can be read."""
        self._epoll.register(file, select.EPOLLIN)

    def close(self) -> None:
        """End all connections."""
        for seat in tuple(self._by_file.values()):
            self._drop(seat)
        self._epoll.close()

    def turn(self) -> set[int]:
        """Do what is due and read what has come; return the watched files that can be read."""
        self._connect_some()
        now = time.monotonic()
        wait = min(max(self._dues[0][0] - now, 0.0), _TURN_S) if self._dues else _TURN_S
        others: set[int] = set()
        for number, _ in self._epoll.poll(wait):
            seat = self._by_file.get(number)
            if seat is None:
                others.add(number)
            elif not seat.ready:
                self._shake(seat)
            else:
                self._read(seat)
        self._send_due()
        return others

    # --- connections ---------------------------------------------------------------------------------------

    def _connect_some(self) -> None:
        while self._absent and self._strangers < _HANDSHAKES:
            seat = self._absent.pop()
            plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.connect_ex(self._address)
            self._tls.load_cert_chain(seat.pem)
            seat.link = self._tls.wrap_socket(
                plain, server_hostname=self._address[0], do_handshake_on_connect=False
            )
            seat.ready, seat.waiting, seat.unread = False, False, b""
            self._strangers += 1
            self._by_file[seat.link.fileno()] = seat
            self._epoll.register(seat.link.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _shake(self, seat: Seat) -> None:
        link = seat.link
        assert link is not None  # it is among the files
        try:
            link.do_handshake()
        except ssl.SSLWantReadError:
            self._epoll.modify(link.fileno(), select.EPOLLIN)
            return
        except ssl.SSLWantWriteError:
            return
        except OSError as err:
            self._fault(seat, f"handshake: {type(err).__name__}")
            return
        seat.ready = True
        self._strangers -= 1
        self._epoll.modify(link.fileno(), select.EPOLLIN)
        seat.due_s = time.monotonic()  # at once, as a VEN does; then at its own moment of the period
        seat.fresh = True
        heapq.heappush(self._dues, (seat.due_s, seat.number, seat))

    def _fault(self, seat: Seat, what: str) -> None:
        self.window.faults[what] += 1
        self._drop(seat)
        self._absent.insert(0, seat)

    def _drop(self, seat: Seat) -> None:
        link, seat.link = seat.link, None
        if link is None:
            return
        if not seat.ready:
            self._strangers -= 1
        seat.ready = False
        self._epoll.unregister(link.fileno())
        del self._by_file[link.fileno()]
        link.close()

    # --- polls ---------------------------------------------------------------------------------------------

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._dues and self._dues[0][0] <= now:
            due_s, _, seat = heapq.heappop(self._dues)
            if not seat.ready or due_s != seat.due_s or seat.link is None:
                continue  # of a connection that is gone
            next_s = due_s + self._period_s * (1.0 + self._rng.random() if seat.fresh else 1.0)
            seat.fresh = False
            if seat.waiting:
                self._fault(seat, "no reply within a period")
                continue
            seat.asked_s, seat.sent_s, seat.due_s, seat.waiting = due_s, now, next_s, True
            heapq.heappush(self._dues, (next_s, seat.number, seat))
            self.window.lags_s.append(now - due_s)
            try:
                if seat.link.send(seat.request) != len(seat.request):
                    self._fault(seat, "a request did not fit")
            except OSError as err:
                self._fault(seat, f"sending: {type(err).__name__}")

    def _read(self, seat: Seat) -> None:
        assert seat.link is not None  # it is among the files
        try:
            data = seat.link.recv(_READ)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return  # a ticket, or half a record
        except OSError as err:
            self._fault(seat, f"reading: {type(err).__name__}")
            return
        if not data:
            self._fault(seat, "the VTN closed")
            return
        seat.unread += data
        head, found, body = seat.unread.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        seat.unread = b""
        self._take(seat, head, body)

    def _take(self, seat: Seat, head: bytes, body: bytes) -> None:
        now, window = time.monotonic(), self.window
        if not seat.waiting:
            self._fault(seat, "a reply to nothing")
            return
        seat.waiting = False
        window.latencies_s.append(now - seat.asked_s)
        if not head.startswith(b"HTTP/1.1 200 "):
            window.faults[f"status {head[9:12].decode('ascii', 'replace')}"] += 1
        elif b">200<" not in body or (seat.ven_id not in body and b"oadrResponse>" in body):
            window.faults["a reply that is wrong"] += 1
        else:
            self._look(seat, body, now)

    def _look(self, seat: Seat, body: bytes, now: float) -> None:
        if not self._checked:
            wire.read(body)  # one is read with the schema; the others have the same shape
            self._checked = True
        window = self.window
        if b"oadrDistributeEvent>" in body:
            if self.wanted and self.wanted in body:
                window.seen_s.setdefault(seat.number, now)
        elif b"oadrResponse>" not in body:
            window.other += 1
        if seat.sent_s >= self.published_s and seat.number not in window.seen_s:
            window.missed.add(seat.number)


def _length(head: bytes) -> int:
    """Return the Content-Length of a reply."""
    start = head.lower().find(b"content-length:")
    return int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def seat_of(number: int, name: str, pem: Path, host: str) -> Seat:
    """Return a VEN that polls."""
    request = request_bytes(host, "OadrPoll", wire.write(Poll(ven_id=name)))
    return Seat(number=number, pem=pem, request=request, ven_id=name.encode())
