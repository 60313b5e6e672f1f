"""A process of push VENs: each listens at a loopback address of its own, with a certificate of its own.

As light as :mod:`feederloop.bench.crowd`: one epoll, one listening socket for all addresses. Each VEN has its
own TLS context, made before anybody calls, as a VEN has that does nothing else. Commands, one a line, are
answered with one line of JSON: ``want VERSION`` waits for a version of the event, ``seen`` tells when a VEN
was given it. ``mute COUNT`` makes some of them silent: they take connections and requests, and never answer.
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feederloop.bench.crowd_files import Crowd, push_host
from feederloop.process import raise_file_limit

__all__ = ["Listeners", "main"]

_READ: Final = 65_536
_BACKLOG: Final = 4096
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True, eq=False)
class _Call:
    """A connection of the VTN to a VEN."""

    number: int
    link: ssl.SSLSocket
    ready: bool = False
    unread: bytes = b""


class Listeners:
    """The push VENs of one process.

    Args:
        crowd: They are its last ones.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._numbers = {push_host(number): number for number in range(crowd.first_push, crowd.vens)}
        self._silent = crowd.first_push
        self._tls = {number: _context(crowd, number) for number in self._numbers.values()}
        self._door = _door(crowd.port)
        self._epoll = select.epoll()
        self._epoll.register(self._door.fileno(), select.EPOLLIN)
        self._calls: dict[int, _Call] = {}
        self.wanted = b""
        self.seen_s: dict[int, float] = {}
        self.requests = 0
        self.made = 0
        """How many connections were made since the last ``want``."""

    @property
    def port(self) -> int:
        """Where they listen."""
        return int(self._door.getsockname()[1])

    def watch(self, file: int) -> None:
        """Return from :meth:`turn` when a file can be read."""
        self._epoll.register(file, select.EPOLLIN)

    def mute(self, count: int) -> None:
        """Let so many of them never answer from now on."""
        self._silent = self._crowd.first_push + count

    def want(self, version: int) -> None:
        """Wait for a version of the event."""
        self.wanted = f"modificationNumber>{version}<".encode()
        self.seen_s, self.requests, self.made = {}, 0, 0

    def turn(self) -> bool:
        """Take what has come; return whether the watched file can be read."""
        other = False
        for number, _ in self._epoll.poll():
            if number == self._door.fileno():
                self._accept()
            elif (call := self._calls.get(number)) is not None:
                self._go_on(call)
            else:
                other = True
        return other

    def close(self) -> None:
        """End all connections."""
        for call in tuple(self._calls.values()):
            self._drop(call)
        self._door.close()
        self._epoll.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._door.accept()
            except BlockingIOError:
                return
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self._numbers.get(plain.getsockname()[0])
            if number is None:
                plain.close()
                continue
            link = self._tls[number].wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            call = self._calls[link.fileno()] = _Call(number, link)
            self._epoll.register(link.fileno(), select.EPOLLIN)
            self.made += 1
            self._go_on(call)

    def _go_on(self, call: _Call) -> None:
        try:
            if not call.ready:
                call.link.do_handshake()
                call.ready = True
            data = call.link.recv(_READ)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(call)
            return
        call.unread += data
        head, found, body = call.unread.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            call.unread = b""
            self._take(call, body)

    def _take(self, call: _Call, body: bytes) -> None:
        self.requests += 1
        if call.number < self._silent:
            return
        if self.wanted and self.wanted in body:
            self.seen_s.setdefault(call.number, time.monotonic())
        try:
            call.link.send(_OK)
        except OSError:
            self._drop(call)

    def _drop(self, call: _Call) -> None:
        self._epoll.unregister(call.link.fileno())
        del self._calls[call.link.fileno()]
        call.link.close()


def _context(crowd: Crowd, number: int) -> ssl.SSLContext:
    """Return what a VEN makes connections with."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(crowd.trust)
    tls.load_cert_chain(crowd.pem_of(number))
    return tls


def _door(port: int) -> socket.socket:
    """Return a socket that listens at all loopback addresses."""
    door = socket.create_server(("", port), backlog=_BACKLOG)
    door.setblocking(False)
    return door


def _length(head: bytes) -> int:
    start = head.lower().find(b"content-length:")
    return int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def _told(listeners: Listeners, command: list[str]) -> object:
    match command:
        case ["want", version]:
            listeners.want(int(version))
            return True
        case ["mute", count]:
            listeners.mute(int(count))
            return True
        case ["seen"]:
            return {
                "seen_s": list(listeners.seen_s.values()),
                "requests": listeners.requests,
                "made": listeners.made,
                "cpu_s": time.process_time(),
            }
        case _:
            raise ValueError(f"no command {command}")


def main() -> None:
    """Listen until the commands end; the first line out is the port."""
    folder, vens, push, core = sys.argv[1:5]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    crowd = Crowd(folder=Path(folder), vens=int(vens), push=int(push))
    raise_file_limit(2 * crowd.push + 100)
    listeners = Listeners(crowd)
    _say(str(listeners.port))
    listeners.watch(sys.stdin.fileno())
    os.set_blocking(sys.stdin.fileno(), False)
    rest = b""
    while True:
        if not listeners.turn():
            continue
        data = os.read(sys.stdin.fileno(), _READ)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _say(json.dumps(_told(listeners, line.decode().split())))
    listeners.close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
