"""A socket that listens, and what becomes of a connection until it is made.

The loops' own servers differ: that of uvloop accepts inside of libuv, where no socket of ours is asked. So
connections are accepted here, one by one, and handed to the loop, which does the same with them on both.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, NoReturn

__all__ = ["Door", "Guest"]

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 256
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_AGAIN_S: Final = 1.0
"""How long nothing is accepted after the system had no room."""


class Guest(asyncio.Protocol):
    """The protocol of a connection that is told, too, if that never comes about."""

    def never_made(self) -> None:
        """Take note that the connection ended before it was made: its handshake failed."""


class Door(asyncio.AbstractServer):
    """Accepts connections.

    Args:
        listening: The socket, bound and not blocking.
        admits: Is told the address of who comes, and returns whether he may.
        guest: Makes the protocol of a connection, from that address.
        tls: The context of a TLS server.
        handshake_s: How long a TLS handshake may take.

    Raises:
        OSError: if the address is taken.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        admits: Callable[[str], bool],
        guest: Callable[[str], Guest],
        tls: ssl.SSLContext | None,
        handshake_s: float,
    ) -> None:
        self._socket = listening
        self._admits = admits
        self._guest = guest
        self._tls = tls
        self._handshake_s = None if tls is None else handshake_s
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._coming: set[asyncio.Task[None]] = set()
        self._is_open = True
        listening.listen(_BACKLOG)
        self._open()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The socket that listens; none once it is closed."""
        return (self._socket,) if self._is_open else ()

    def close(self) -> None:
        """Accept nobody any more; connections that are made, or are being made, go on."""
        if not self._is_open:
            return
        self._is_open = False
        if self._again is not None:
            self._again.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    async def wait_closed(self) -> None:
        """Return when nobody is accepted any more, which is at once."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop it is on."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether it is open."""
        return self._is_open

    async def start_serving(self) -> None:
        """Do nothing: it is open from the beginning."""

    async def serve_forever(self) -> NoReturn:
        """Not for this one: it serves until it is closed.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError

    def _open(self) -> None:
        self._again = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        """Take who waits; after one who may not come in, others have a turn first."""
        for _ in range(_BACKLOG):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as err:
                if err.errno not in _NO_ROOM:
                    raise  # the loop logs it
                _LOG.error("nobody is accepted for %g s: %s", _AGAIN_S, err.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._again = self._loop.call_later(_AGAIN_S, self._open)
                return
            host = str(address[0])
            if not self._admits(host):
                connection.close()
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._make(connection, self._guest(host)))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _make(self, connection: socket.socket, guest: Guest) -> None:
        made = False
        try:
            await self._loop.connect_accepted_socket(
                lambda: guest, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
            made = True
        except OSError:  # those of TLS are among them, and say why themselves
            connection.close()
        finally:
            if not made:
                guest.never_made()
