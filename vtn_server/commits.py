"""Group commit: the writes of everybody who asks while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeAlias, TypeVar

from vtn_server.decision import SaveNonce, SharedWrite
from vtn_server.store import StoreConflict, StoreFailed

__all__ = ["Batch", "GroupCommit"]


T = TypeVar("T")
Batch: TypeAlias = Sequence[SharedWrite | SaveNonce]
"""What one caller wants written, all of it or nothing."""


class GroupCommit(Generic[T]):
    """Gathers writes and hands them to one thread, one transaction at a time.

    Args:
        write: Writes all batches in one transaction, or raises, which is the end. It returns for each batch
            what its caller gets, or the conflict for which it was left out.
        thread: Where ``write`` runs; one thread.
    """

    def __init__(
        self, write: Callable[[Sequence[Batch]], Sequence[T | StoreConflict]], thread: Executor
    ) -> None:
        self._write = write
        self._thread = thread
        self._waiting: list[tuple[Batch, asyncio.Future[T]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._failed = False
        self.commits = 0

    async def commit(self, writes: Batch) -> T:
        """Return when the writes are durable, with what the transaction came to.

        Raises:
            StoreConflict: if they alone were left out.
            StoreFailed: if they are not, or an earlier commit failed.
        """
        if self._failed:
            raise StoreFailed("an earlier commit failed")
        durable: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, durable))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="group commit")
        return await durable

    async def drain(self) -> None:
        """Return when nothing is under way."""
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            results: Sequence[T | StoreFailed]
            try:
                results = await loop.run_in_executor(self._thread, self._write, [each for each, _ in batch])
                self.commits += 1
            except Exception as err:  # noqa: BLE001 - whoever waits must hear of it, whatever it was
                failure = err if isinstance(err, StoreFailed) else StoreFailed(f"commit failed: {err!r}")
                self._failed = True
                batch, self._waiting = batch + self._waiting, []
                results = [failure] * len(batch)
            for (_, durable), result in zip(batch, results, strict=True):
                if durable.done():
                    continue  # whoever asked has gone
                if isinstance(result, StoreFailed):
                    durable.set_exception(result)
                else:
                    durable.set_result(result)
