"""Holding a VEN still while an operator changes something of it."""

from __future__ import annotations

from schemas.oadr20b.errors import InvalidId
from vtn_server.service import VtnService
from vtn_server.state import Ven, VenId

__all__ = ["Locked"]


class Locked:
    """Holds a VEN's lock and hands out its aggregate.

    Raises:
        InvalidId: on entry, if the VEN is unknown.
    """

    def __init__(self, service: VtnService, ven_id: VenId) -> None:
        self._service = service
        self._ven_id = ven_id

    async def __aenter__(self) -> Ven:
        if self._service.memory.ven(self._ven_id) is None:
            raise InvalidId(f"no venID {self._ven_id}")
        await self._service.lock(self._ven_id)
        ven = self._service.memory.ven(self._ven_id)
        assert ven is not None  # VENs are never removed
        return ven

    async def __aexit__(self, *failure: object) -> None:
        self._service.unlock(self._ven_id)
