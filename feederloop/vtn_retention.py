"""How long the VTN program keeps what is finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from config.vtn_settings import VtnProgramSettings
from feederloop.clock import WallClock
from feederloop.process import length
from vtn_server.maintenance import Retention
from vtn_server.sqlstore import open_store
from vtn_server.store import Pruned, Store, StoreError

__all__ = ["prune_store", "pruning", "retention_of"]

_LOG: Final = logging.getLogger(__name__)


def retention_of(settings: VtnProgramSettings) -> Retention:
    """Return how long what is finished is kept."""
    keep = settings.retention
    return Retention(
        readings=None if keep.readings is None else length(keep.readings),
        events=None if keep.events is None else length(keep.events),
    )


@asynccontextmanager
async def pruning(
    store: Store, settings: VtnProgramSettings, now: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Delete what is old from time to time, where the settings say so."""
    retention = retention_of(settings)
    if retention == Retention():
        yield
        return
    every = max(60.0, length(settings.retention.every).total_seconds())
    task = asyncio.create_task(_prune(store, retention, every, now), name="retention")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _prune(store: Store, retention: Retention, every_s: float, now: Callable[[], datetime]) -> None:
    while True:
        try:
            gone = await retention.apply(store, now())
            _LOG.info("retention: deleted %d readings, %d events", gone.readings, gone.events)
        except StoreError as err:
            _LOG.warning("retention: %s", err)
        await asyncio.sleep(every_s)


async def prune_store(settings: VtnProgramSettings) -> Pruned:
    """Delete what the settings no longer keep, in the store of a VTN that does not run.

    Raises:
        SettingsError, StoreError: if the settings or the store do not allow it.
    """
    store = open_store(settings.db)
    try:
        return await retention_of(settings).apply(store, WallClock().now())
    finally:
        await store.close()
