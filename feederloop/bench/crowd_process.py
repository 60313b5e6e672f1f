"""A process of pull VENs: reads one command a line, answers each with one line of JSON.

``open`` measures anew; ``want VERSION MONOTONIC`` waits for a version of the event, published at an instant;
``close`` tells what was measured since; ``seated`` how many are connected. It ends when the commands do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from feederloop.bench.crowd import Crew, seat_of
from feederloop.bench.crowd_files import Crowd
from feederloop.process import raise_file_limit

__all__ = ["main"]


def _told(crew: Crew, command: list[str], folder: Path) -> object:
    match command:
        case ["seated"]:
            return [crew.seated, dict(crew.window.faults)]
        case ["open"]:
            crew.open_window()
            return True
        case ["want", version, moment]:
            crew.wanted = f"modificationNumber>{version}<".encode()
            crew.published_s = float(moment)
            return True
        case ["close"]:
            return _figures(crew, folder)
        case _:
            raise ValueError(f"no command {command}")


def _figures(crew: Crew, folder: Path) -> dict[str, object]:
    window = crew.window
    path = folder / f"window-{os.getpid()}-{time.monotonic_ns()}.npz"
    seen = sorted(window.seen_s.items())
    np.savez(
        path,
        latencies_s=np.array(window.latencies_s),
        lags_s=np.array(window.lags_s),
        seen_s=np.array([each for _, each in seen]),
    )
    return {
        "path": str(path),
        "seconds": time.monotonic() - window.began_s,
        "cpu_s": time.process_time() - window.began_cpu_s,
        "faults": dict(window.faults),
        "missed": len(window.missed - window.seen_s.keys()),
        "late": len(window.missed),
        "other": window.other,
        "seated": crew.seated,
    }


def main() -> None:
    """Poll until the commands end."""
    folder, first, last, port, period_s, core = sys.argv[1:7]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    crowd = Crowd(folder=Path(folder), vens=int(last))
    numbers = range(int(first), int(last))
    raise_file_limit(len(numbers) + 100)
    names = crowd.names
    seats = [seat_of(number, names[number], crowd.pem_of(number), f"127.0.0.1:{port}") for number in numbers]
    crew = Crew(seats, ("127.0.0.1", int(port)), crowd.trust, float(period_s), seed=int(first))
    crew.watch(sys.stdin.fileno())
    os.set_blocking(sys.stdin.fileno(), False)
    rest = b""
    while True:
        if not crew.turn():
            continue
        data = os.read(sys.stdin.fileno(), 65_536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            sys.stdout.write(json.dumps(_told(crew, line.decode().split(), crowd.folder)) + "\n")
            sys.stdout.flush()
    crew.close()


if __name__ == "__main__":
    main()
