"""Work that follows from a request is told of when the reply to the request leaves.

Otherwise a pushed message could overtake the reply it follows from: an oadrCreateReport the
oadrRegisteredReport, for instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["settled"]

T = TypeVar("T")


async def settled(settling: asyncio.Task[T], tell: Callable[[T], None]) -> None:
    """Return when a task that settles a decision is done, and then tell of its result.

    The caller's next steps up to its first pause, which write the reply, come before. If the caller is
    cancelled there is no reply, and it is told when the task is done.

    Raises:
        Exception: the task's own.
    """
    loop = asyncio.get_running_loop()
    try:
        result = await asyncio.shield(settling)
    except asyncio.CancelledError:
        settling.add_done_callback(lambda done: _tell_of(done, tell))
        raise
    loop.call_soon(tell, result)


def _tell_of(done: asyncio.Task[T], tell: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        tell(done.result())
