"""One of several processes of a VTN; :mod:`feederloop.vtn_workers` starts it with ``python -m``.

Its orders are the first line of its standard input; the end of the input is the order to stop. Once it serves
it writes its banner to its standard output, in one line of JSON, and an empty line every second: its loop
turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from base64 import b64decode
from contextlib import suppress
from typing import Final

from config.settings import SettingsError
from feederloop.logs import setup_logs
from feederloop.process import run_loop, stop_signal
from feederloop.vtn_program import run_vtn
from feederloop.vtn_workers import Orders
from vtn_server.store import StoreError

__all__ = ["main"]

_BEAT_S: Final = 1.0


def _say(banner: str) -> None:
    """Tell that this process serves."""
    sys.stdout.write(json.dumps(banner) + "\n")
    sys.stdout.flush()


async def _beat() -> None:
    """Show again and again that the loop turns, to whoever may listen."""
    while True:
        await asyncio.sleep(_BEAT_S)
        with suppress(OSError):
            os.write(sys.stdout.fileno(), b"\n")


async def _serve(orders: Orders) -> int:
    stop = stop_signal()
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), ended)  # nothing more is sent: what there is to read is the end
    os.set_blocking(sys.stdout.fileno(), False)  # a full pipe holds up nothing
    beating = asyncio.create_task(_beat())
    try:
        return await run_vtn(orders.settings, _say, stop=stop, place=orders.place)
    finally:
        beating.cancel()


def main() -> int:
    """Serve until told to stop; return the exit code."""
    orders: Orders = pickle.loads(b64decode(sys.stdin.buffer.readline()))
    setup_logs(orders.settings.log.level, orders.settings.log.format, worker=orders.place.number)
    try:
        return run_loop(_serve(orders))
    except (SettingsError, StoreError, OSError) as err:
        sys.stderr.write(f"feederloop: worker {orders.place.number}: {err}\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
