"""A client that may say anything: requests as they should be, and raw bytes over TLS.

Everything blocks, with a time limit, so that a server that does not answer is a failure and not a hang.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import HOST

PATH = "/OpenADR2/Simple/2.0b/"
XML = {"Content-Type": "application/xml"}
PATIENCE_S = 20.0
_AFTERWARDS_S = 1.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; status 0 is a connection that was ended without an answer."""

    status: int
    body: bytes = b""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What became of a body that is sent to the end, whatever the other side says meanwhile."""

    answer: Answer
    taken_bytes: int


class Tap:
    """Somebody at the door of a server.

    Args:
        port: Where it listens.
        context: The certificate that is shown; None is plain TCP.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self.port = port
        self._context = context

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Return a connection; the handshake is done.

        Raises:
            OSError: if the server does not want us.
        """
        plain = socket.socket()
        plain.settimeout(PATIENCE_S)
        try:
            if receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.connect((HOST, self.port))
            if self._context is None:
                return plain
            return self._context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def client(self) -> http.client.HTTPConnection:
        """Return a connection for many requests.

        Raises:
            OSError: if the server does not want us.
        """
        client = http.client.HTTPConnection(HOST, self.port)
        client.sock = self.connect()
        return client

    def post(
        self,
        body: bytes,
        service: ServiceName = ServiceName.OADR_POLL,
        headers: Mapping[str, str] = XML,
        path: str | None = None,
    ) -> Answer:
        """Post a body as an ordinary client does, on a connection of its own."""
        where = PATH + service.value if path is None else path
        try:
            with closing(self.client()) as client:
                client.request("POST", where, body, dict(headers))
                response = client.getresponse()
                return Answer(status=response.status, body=response.read())
        except (OSError, http.client.HTTPException) as err:
            return Answer(status=0, why=_reason(err))

    def raw(self, *pieces: bytes) -> tuple[Answer, ...]:
        """Send bytes as they are; return every answer that comes until the server ends the connection.

        Whoever asks for several answers says ``Connection: close`` in the last request.
        """
        found: list[bytes] = []
        try:
            with closing(self.connect()) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                while data := connection.recv(_PIECE):
                    found.append(data)
                    # Once in some ten thousand times asyncio answers and then takes 30 s to close under TLS.
                    connection.settimeout(_AFTERWARDS_S)
        except OSError as err:
            if not found:
                return (Answer(status=0, why=_reason(err)),)
        return answers(b"".join(found)) or (Answer(status=0),)

    def flood(self, head: bytes, pieces: Iterable[bytes]) -> Flood:
        """Send a head and then all pieces, without regard to what comes back until nothing more is taken."""
        taken, answer = 0, b""
        with closing(self.connect()) as connection:
            connection.sendall(head)
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    taken += len(piece)
                    if select.select([connection], [], [], 0)[0]:
                        answer += _available(connection)
            except OSError:
                pass
            try:
                while data := connection.recv(_PIECE):
                    answer += data
            except OSError:
                pass
        found = answers(answer)
        return Flood(answer=found[0] if found else Answer(status=0), taken_bytes=taken)


def _available(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    try:
        return connection.recv(_PIECE)
    except (ssl.SSLWantReadError, BlockingIOError):
        return b""
    finally:
        connection.settimeout(PATIENCE_S)


def _reason(err: Exception) -> str:
    return (err.reason or "TLS") if isinstance(err, ssl.SSLError) else type(err).__name__


def request(
    service: ServiceName = ServiceName.OADR_POLL, *lines: str, body: bytes = b"", length: bool = True
) -> bytes:
    """Return a request as bytes; the lines stand among its headers."""
    head = [
        f"POST {PATH}{service.value} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/xml",
        *lines,
    ]
    if length:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*head, "", "")).encode("latin-1") + body


def answers(data: bytes) -> tuple[Answer, ...]:
    """Return the HTTP responses in a stream; all of ours have a Content-Length."""
    found = []
    while data:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            break
        lines = head.split(b"\r\n")
        size = next(
            (int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")), 0
        )
        found.append(Answer(status=int(lines[0].split()[1]), body=rest[:size]))
        data = rest[size:]
    return tuple(found)
