"""Keeps what a C library prints on its first call out of the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_stdout", "silence_stdout"]


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send standard output nowhere for a while; what Python has buffered is written first."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        silence_stdout()
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def silence_stdout() -> None:
    """Send standard output of this process nowhere from now on."""
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 1)
