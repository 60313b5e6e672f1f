"""The nonces of accepted messages: in the store, and out of it again when their time is over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from vtn_server.store import Store, StoreUnavailable

__all__ = ["StoredNonces"]

_LOG: Final = logging.getLogger(__name__)
_SKEW: Final = timedelta(seconds=60)
"""How far the clocks of processes may be apart: what is too old for one of them another may still accept."""
_TIDY: Final = timedelta(seconds=30)
"""How often to delete what is over; in between the table grows by as much as is accepted meanwhile."""


class StoredNonces:
    """Implements :class:`certs.xmldsig.NonceStore` with a VTN's store.

    A nonce is durable, and known to all processes of the store, when :meth:`remember` returns. It shares its
    transaction with whatever else is written at that moment.

    Args:
        store: The store.
        now: The protocol's clock, in which messages are stamped.
        window: The verifier's window.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime], window: timedelta) -> None:
        self._store = store
        self._now = now
        self._window = window
        self._tidy_at: datetime | None = None

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        """Remember a nonce; return False if it was there already.

        Raises:
            StoreFailed: if it is not durable.
        """
        now = self._now()
        if self._tidy_at is None or now >= self._tidy_at:
            self._tidy_at = now + _TIDY
            await self._tidy(now - self._window - _SKEW)
        return await self._store.remember(nonce, timestamp)

    async def _tidy(self, signed_before: datetime) -> None:
        try:
            await self._store.forget_nonces(signed_before)
        except StoreUnavailable:
            _LOG.exception("old nonces were not deleted")  # they do no harm; the next time may do
