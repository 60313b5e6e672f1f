"""What the programs share as processes: their version, and how they are told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from importlib import metadata
from typing import Any, Final, TypeVar

__all__ = ["VERSION", "run_loop", "stop_signal"]

T = TypeVar("T")

VERSION: Final = metadata.version("feederloop")


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is present, which does the same work with less CPU."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, first, each)
    return stop
