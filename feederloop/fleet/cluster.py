"""A fleet on Dask: worker processes of this machine, or the workers of a scheduler elsewhere.

Dask schedules; a block is offered to the worker that has its models, and any other may take it. When a worker
is lost Dask gives its order to another one, which builds the block and goes on from the state in the order.

Whoever reaches a Dask scheduler or worker can run code there: messages are pickles. So the processes of this
machine talk over TLS with a key made for this run and known to them alone, and a scheduler elsewhere is
accepted over TLS only.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from feederloop.fleet.block import BlockOrder, BlockOutcome, play_block
from feederloop.fleet.work import FleetError

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

__all__ = ["DaskCrew", "DaskTls", "dask_is_here", "local_client", "remote_client"]

T = TypeVar("T")

_LOOK_S: Final = 2.0
_DESERTED_S: Final = 60.0
"""How long orders wait for a worker when there is none left."""
_CONNECT_S: Final = 15.0
_LOOPBACK: Final = "127.0.0.1"
_NO_PAGES: Final[dict[str, object]] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_PRELOADED: Final = (
    "feederloop.fleet.apart",
    "distributed",
    "feederloop.fleet.cluster",
    "feederloop.fleet.warm",
)
_MISSING: Final = "several processes need Dask: install feederloop[fleet], or use --workers 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaskTls:
    """Files of the TLS that scheduler and workers use, PEM.

    Attributes:
        ca: Roots that all parties' certificates come from.
        certificate: Ours.
        key: Its key.
    """

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Played:
    worker: str
    outcome: BlockOutcome


def dask_is_here() -> bool:
    """Return whether Dask is installed."""
    return find_spec("distributed") is not None


def _play_there(order: BlockOrder) -> _Played:
    """Play on a worker; says which one it is."""
    from distributed import get_worker

    return _Played(worker=get_worker().address, outcome=play_block(order))


class DaskCrew:
    """Workers of a Dask cluster; a `feederloop.fleet.work.Crew`.

    Args:
        client: Connected to the scheduler.

    Raises:
        FleetError: if there is no worker.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._home: dict[int, str] = {}
        self._moves = 0
        self._turn = 0
        self._done: queue.SimpleQueue[Future[_Played]] = queue.SimpleQueue()
        self._under_way: set[Future[_Played]] = set()
        self._workers = self._present()
        if not self._workers:
            raise FleetError("the Dask scheduler has no workers")

    @property
    def moves(self) -> int:
        """See `feederloop.fleet.work.Crew`."""
        return self._moves

    def submit(self, order: BlockOrder) -> None:
        """See `feederloop.fleet.work.Crew`."""
        home = self._home.get(order.first)
        if home is None:
            # Blocks that are new go round.
            home = self._workers[self._turn % len(self._workers)]
            self._turn += 1
        future = self._client.submit(_play_there, order, pure=False, workers=[home], allow_other_workers=True)
        self._under_way.add(future)
        future.add_done_callback(self._done.put)  # type: ignore[no-untyped-call]  # distributed

    def everywhere(self, work: Callable[[], T]) -> tuple[T, ...]:
        """Do something once in every worker and return what came of it."""
        found: dict[str, T] = self._client.run(work)
        return tuple(found.values())

    def next_outcome(self) -> BlockOutcome:
        """See `feederloop.fleet.work.Crew`.

        Raises:
            FleetError: if workers died over the same block several times, none is left, or the scheduler is
                lost.
        """
        from distributed import CancelledError, KilledWorker

        future = self._next()
        try:
            played = future.result()
        except KilledWorker as err:
            raise FleetError(f"a block was lost with several workers, one after the other: {err}") from err
        except (CancelledError, OSError) as err:
            raise FleetError(f"the Dask scheduler is lost: {err}") from err
        self._under_way.discard(future)
        before = self._home.get(played.outcome.first, played.worker)
        self._moves += before != played.worker
        self._home[played.outcome.first] = played.worker
        return played.outcome

    def _next(self) -> Future[_Played]:
        deserted_since: float | None = None
        while True:
            try:
                return self._done.get(timeout=_LOOK_S)
            except queue.Empty:
                now = time.monotonic()
                if self._present():
                    deserted_since = None
                elif deserted_since is None:
                    deserted_since = now
                elif now - deserted_since > _DESERTED_S:
                    raise FleetError(f"no Dask worker for {_DESERTED_S:.0f} s") from None

    def _present(self) -> tuple[str, ...]:
        info = self._client.scheduler_info(n_workers=-1)
        return tuple(sorted(info["workers"]))


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Start worker processes of this machine: on loopback, free ports, TLS of their own, no dashboards.

    Raises:
        FleetError: if Dask is not installed.
    """
    if not dask_is_here():
        raise FleetError(_MISSING)
    from distributed import Client, LocalCluster
    from distributed.security import Security

    security = Security.temporary()  # type: ignore[no-untyped-call]  # distributed
    with _forked_from_one_import(), ExitStack() as stack:
        with _undisturbed():
            cluster = LocalCluster(  # type: ignore[no-untyped-call]  # distributed
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=_LOOPBACK,
                protocol="tls://",
                scheduler_port=0,
                # Without an address it would be port 8787, free or not. Nothing is served there.
                dashboard_address=f"{_LOOPBACK}:0",
                scheduler_kwargs={"dashboard": False},
                worker_dashboard_address=None,
                security=security,
                silence_logs=logging.ERROR,  # lost workers, of which Dask warns, are counted and told
            )
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))  # type: ignore[no-untyped-call]  # distributed
        yield client


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM for the end: a Dask cluster that is half there cannot be closed.

    Raises:
        KeyboardInterrupt: at the end, if one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        heard.append(number)

    kept = [
        (each, signal.signal(each, note))
        for each in (signal.SIGINT, signal.SIGTERM)
        if callable(signal.getsignal(each))
    ]
    try:
        yield
    finally:
        for number, handler in kept:
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt


@contextmanager
def _forked_from_one_import() -> Iterator[None]:
    """Start workers as forks of a process without threads that has imported and compiled everything already.

    That takes several seconds of processor time: once, instead of in every worker and again in each that
    replaces a lost one. They serve none of the pages Dask has over plain HTTP.
    """
    import dask
    from distributed.utils import get_mp_context

    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"} | _NO_PAGES):
        get_mp_context().set_forkserver_preload(list(_PRELOADED))  # type: ignore[no-untyped-call]  # distributed
        yield


@contextmanager
def remote_client(address: str, tls: DaskTls | None) -> Iterator[Client]:
    """Connect to a scheduler that runs already.

    Args:
        address: ``tls://host:port``; ``tcp://`` on loopback only, for a tunnel or a trial.
        tls: What to show and whom to trust; needed with ``tls://``.

    Raises:
        FleetError: if Dask is not installed, the address is not acceptable, a file cannot be used or the
            scheduler cannot be reached.
    """
    if not dask_is_here():
        raise FleetError(_MISSING)
    from distributed import Client

    try:
        security = _security(address, tls)
        client = Client(address, security=security, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]  # distributed
    except (OSError, TimeoutError) as err:
        raise FleetError(f"the Dask scheduler at {address} cannot be reached: {err}") from err
    with client:
        yield client


def _security(address: str, tls: DaskTls | None) -> Security | None:
    from distributed.security import Security

    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as err:
        raise FleetError(f"{address} is no address of a scheduler: {err}") from err
    if parts.scheme not in ("tls", "tcp") or host is None or port is None:
        raise FleetError(f"{address} is no address of a scheduler: tls://host:port is one")
    if parts.scheme == "tcp":
        if not _is_loopback(host):
            raise FleetError(
                f"{address}: over plain TCP anybody can run code on the workers; use tls:// (docs/fleet.md)"
            )
        return None
    if tls is None:
        raise FleetError(f"{address} needs --tls-ca, --tls-cert and --tls-key")
    for path in (tls.ca, tls.certificate, tls.key):
        if not path.is_file():
            raise FleetError(f"{path}: no such file")
    return Security(  # type: ignore[no-untyped-call]  # distributed
        tls_ca_file=str(tls.ca),
        tls_client_cert=str(tls.certificate),
        tls_client_key=str(tls.key),
        require_encryption=True,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
