"""``feederloop vtn --workers N``: several processes that serve one VTN on the same ports of one machine.

The first process serves nothing itself: it holds the ports, starts the workers, and starts another one for
each that ends, after a pause that doubles from half a second to half a minute while they keep ending. The
kernel deals out the connections (SO_REUSEPORT). They share the PostgreSQL store, and so one VTN's state.

A worker is told to stop by the end of its standard input, so it stops as well when the first process is gone.
It shows every second that its loop turns; one that serves and is not heard of for ``_SILENT_S`` hangs, or has
been stopped. The kernel would go on to give it connections, so it is killed, and another one takes its place.

Exit codes: as of one process; 2 if a worker cannot start at the beginning.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import socket
import sys
from asyncio.subprocess import PIPE, Process
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from config.settings import SettingsError
from config.vtn_settings import VtnProgramSettings
from feederloop.process import stop_signal
from feederloop.vtn_program import Place
from vtn_server.dialects import address_of

__all__ = ["Crew", "Orders", "check_store", "run_workers"]

_LOG: Final = logging.getLogger(__name__)
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_SOUND_S: Final = 60.0
"""A worker that has served so long has started well: the next pause is the first again."""
_STOPPING_S: Final = 30.0
_SILENT_S: Final = 20.0
"""Longer than anything a worker does at one go."""
_REFUSED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is told."""

    settings: VtnProgramSettings
    place: Place


def check_store(settings: VtnProgramSettings) -> None:
    """Check that several processes can use the store.

    Raises:
        SettingsError: if they cannot.
        StoreError: if its URL names no store.
    """
    if settings.workers > 1 and address_of(settings.db).file is not None:
        raise SettingsError(
            f'{settings.workers} workers need PostgreSQL (db = "postgresql://..."): '
            "a SQLite file serves one process"
        )


async def run_workers(settings: VtnProgramSettings, say: Callable[[str], None]) -> int:
    """Serve with several processes until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: What the program was told.
        say: Prints what somebody who starts it by hand wants to know.

    Raises:
        SettingsError: if the settings do not allow to start.
        StoreError: if the URL of the store names none.
        OSError: if an address is taken.
    """
    check_store(settings)
    stop = stop_signal()
    with ExitStack() as stack:
        crew = Crew(_with_ports(settings, stack), settings.operator.port, say, stop)
        return await crew.serve()


def _with_ports(settings: VtnProgramSettings, stack: ExitStack) -> VtnProgramSettings:
    """Hold the ports that the workers share, and return the settings with the free ones that were found."""
    found = settings.model_copy(update={"port": _hold(settings.host, settings.port, stack)})
    if settings.operator.token is not None or settings.operator.token_file is not None:
        api = settings.operator
        port = _hold(api.host, api.port, stack)
        found = found.model_copy(update={"operator": api.model_copy(update={"port": port})})
    if settings.health.port is not None:
        port = _hold("127.0.0.1", settings.health.port, stack)
        found = found.model_copy(update={"health": settings.health.model_copy(update={"port": port})})
    return found


def _hold(host: str, port: int, stack: ExitStack) -> int:
    """Take a port without listening on it, so that nobody else gets it while workers come and go."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    holder = stack.enter_context(socket.socket(family, kind, protocol))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        holder.bind(address)
    except OSError as err:
        raise OSError(err.errno, f"{host} port {port}: {err.strerror}") from err
    return int(holder.getsockname()[1])


class Crew:
    """The workers of one VTN.

    Args:
        settings: With the ports they share.
        own_api_port: The one before those on which each serves its own metrics; 0 takes free ones.
        say: Prints what somebody who starts it by hand wants to know.
        stop: Set when all shall end.
        silent_s: After what silence a worker that serves is killed.
    """

    def __init__(
        self,
        settings: VtnProgramSettings,
        own_api_port: int,
        say: Callable[[str], None],
        stop: asyncio.Event,
        silent_s: float = _SILENT_S,
    ) -> None:
        self._settings = settings
        self._own_api_port = own_api_port
        self._say = say
        self._stop = stop
        self._silent_s = silent_s
        self._banners: dict[int, str] = {}
        self._said = False
        self._refused = False

    async def serve(self) -> int:
        """Keep the workers up until the end; return the exit code."""
        places = (
            Place(number=number, own_api_port=self._own_api_port and self._own_api_port + number)
            for number in range(1, self._settings.workers + 1)
        )
        await asyncio.gather(*(self._keep(place) for place in places))
        _LOG.info("all workers have stopped")
        return _REFUSED if self._refused else 0

    async def _keep(self, place: Place) -> None:
        """Have one worker, again and again."""
        loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
        while not self._stop.is_set():
            begun = loop.time()
            process = await self._start(place)
            code = await self._watch(process, place)
            if self._stop.is_set():
                return
            if code == _REFUSED and not self._said:
                self._refused = True
                self._stop.set()  # it says why on stderr
                return
            if loop.time() - begun > _SOUND_S:
                pause_s = _FIRST_PAUSE_S
            _LOG.warning(
                "worker %d (process %d) ended with %d; another one starts in %.1f s",
                place.number,
                process.pid,
                code,
                pause_s,
            )
            await self._rest(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2.0 * pause_s)

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _start(self, place: Place) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # not what lies about where this program was started
            "-m",
            "feederloop.vtn_worker",
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for the first process, which tells the workers
        )
        assert process.stdin is not None  # it is a pipe
        orders = pickle.dumps(Orders(settings=self._settings, place=place))
        process.stdin.write(b64encode(orders) + b"\n")
        _LOG.info("worker %d is process %d", place.number, process.pid)
        return process

    async def _watch(self, process: Process, place: Place) -> int:
        """Return a worker's exit code, once it has ended or been made to."""
        assert process.stdout is not None  # it is a pipe
        assert process.stdin is not None
        silent = asyncio.create_task(self._listen(process.stdout, place))
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({ended, stopping, silent}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not ended.done():
                process.stdin.close()
                await asyncio.wait({ended}, timeout=_STOPPING_S)
            if not ended.done():
                what = "does not stop" if stopping.done() else f"was silent for {self._silent_s:g} s"
                _LOG.error("worker %d (process %d) %s", place.number, process.pid, what)
                process.kill()
            return await ended
        finally:
            for task in (silent, stopping):
                task.cancel()
            await asyncio.gather(silent, stopping, return_exceptions=True)

    async def _listen(self, stdout: asyncio.StreamReader, place: Place) -> None:
        """Take note that a worker serves: it sends its banner then. Return when it is silent afterwards."""
        serves = False
        while True:
            try:
                async with asyncio.timeout(self._silent_s if serves else None):
                    line = await stdout.readline()
            except TimeoutError:
                return
            if not line:  # it is ending
                await asyncio.Event().wait()
            if line.strip():
                serves = True
                self._serves(json.loads(line), place)

    def _serves(self, banner: str, place: Place) -> None:
        _LOG.info("worker %d serves", place.number)
        self._banners[place.number] = banner
        if len(self._banners) == self._settings.workers and not self._said:
            self._said = True
            self._say(f"{self._banners[1]}\nworkers: {self._settings.workers}")
