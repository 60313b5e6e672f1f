"""How much is under way: requests, and bodies that are still coming; beyond that a peer is to come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vtn_server.limits import Limit
from vtn_server.service import VtnService

__all__ = ["Busy", "NoRoom"]


class NoRoom(Exception):
    """As much is under way as may be."""


class Busy:
    """What is under way in one server.

    Args:
        service: Its settings have the bounds, and it counts how often they are reached.
    """

    def __init__(self, service: VtnService) -> None:
        self._service = service
        self._requests = 0
        self._bytes = 0
        settings = service.settings
        service.watch(Limit.REQUESTS, settings.max_requests, lambda: self._requests)
        service.watch(Limit.BODIES, settings.max_bytes_at_once, lambda: self._bytes)

    def enter(self) -> bool:
        """Return whether one more request may be served, and count it."""
        if self._requests >= self._service.settings.max_requests:
            self._service.count_limit(Limit.REQUESTS)
            return False
        self._requests += 1
        return True

    def leave(self) -> None:
        """Count a request less."""
        self._requests -= 1

    @contextmanager
    def body(self, length: int | None) -> Iterator[None]:
        """Hold room for a body that is still coming; one that does not say how long it is may be the longest.

        Raises:
            NoRoom: if there is none.
        """
        settings = self._service.settings
        size = settings.max_bytes if length is None else min(length, settings.max_bytes)
        if self._bytes + size > settings.max_bytes_at_once:
            self._service.count_limit(Limit.BODIES)
            raise NoRoom
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
