"""What the programs share as processes: their version, their open files, and how they are told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import metadata
from types import FrameType
from typing import Any, Final, TypeVar

from config.program import duration_s

__all__ = ["VERSION", "ending_as_ctrl_c", "length", "raise_file_limit", "run_loop", "starting", "stop_signal"]

T = TypeVar("T")

_COLLECT: Final = (10_000, 20, 20)
"""After how many new objects the collector looks at the young ones, and how often then at the older ones."""
_MMAP_THRESHOLD: Final = -3
"""From glibc's malloc.h."""
_LARGE_BYTES: Final = 128 * 1024
VERSION: Final = metadata.version("feederloop")


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is present, which does the same work with less CPU."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    _keep_large_blocks_apart()
    return uvloop.run(work)


def _keep_large_blocks_apart() -> None:
    """Have the C library give large blocks pages of their own, as it does by itself until one is freed.

    uvloop takes 256 KiB for each TLS connection and touches little of it. Cut out of the heap, such blocks
    leave gaps of untouched pages in which small ones settle: memory grows for hours as connections come and
    go, although nothing is lost.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


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


@contextmanager
def starting() -> Iterator[None]:
    """Keep the collector of garbage away from what a program loads when it starts, then and later.

    State stays until it is replaced, and counting references frees it then. Going through that of 10,000 VENs
    again and again would find nothing, and hold up everybody by half a second each time. For the same reason
    it comes less often than it would by itself: connections, which are most of what comes and goes, hold no
    circles of references once they are closed.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        gc.enable()


@contextmanager
def ending_as_ctrl_c() -> Iterator[None]:
    """Have SIGTERM end what runs here as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """While asyncio runs, what it does is cancelled, not torn out of the middle."""
    del number
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell's & has it ignored
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files as far as the system allows; return what it is then.

    Args:
        wanted: How many the process may come to need. A limit that is higher stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, soft), hard))
    return max(most, soft)


def length(text: str) -> timedelta:
    """Return a duration of the settings; see :func:`config.program.duration_s`."""
    return timedelta(seconds=duration_s(text))
