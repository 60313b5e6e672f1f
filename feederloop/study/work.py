"""Jobs of a study: each is done once, in parallel, and its result is kept, so a study can be interrupted.

A result is a JSON file named by a hash of the job and of everything it was computed with: our own code and
the data in ``config/``. So a changed programme never shows figures of an older one, and a study that was
stopped goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from feederloop.quiet import quiet_stdout, silence_stdout

__all__ = ["JobFailed", "Work", "do"]

J = TypeVar("J")
R = TypeVar("R")

_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = (
    *("config", "dso_engine", "schemas", "ven_client", "vtn_server"),
    *("feederloop/simulation", "feederloop/study"),
)
_ENDINGS: Final = (".py", ".toml", ".json", ".npz")


class JobFailed(Exception):
    """A job ended with an error; the results of all finished ones are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[J, R]):
    """All jobs of one kind.

    Attributes:
        name: Folder of the results.
        jobs: Frozen dataclasses whose ``repr`` says everything about them.
        run: A module-level function, since other processes call it.
        row: The dataclass it returns.
    """

    name: str
    jobs: tuple[J, ...]
    run: Callable[[J], R]
    row: type[R]


@cache
def _fingerprint() -> str:
    """Return a hash of the code and the data that results depend on."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.suffix in _ENDINGS and path.is_file():
                digest.update(str(path.relative_to(_ROOT)).encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _key(name: str, job: object) -> str:
    return hashlib.sha256(f"{_fingerprint()}|{name}|{job!r}".encode()).hexdigest()[:24]


def do(
    work: Work[J, R], folder: Path, *, workers: int, tell: Callable[[int, int], None]
) -> tuple[tuple[J, R], ...]:
    """Do all jobs that are not done yet, and return every job with its result, in the order of the jobs.

    Args:
        work: The jobs.
        folder: Where results are kept.
        workers: Number of processes; 1 works in this one.
        tell: Called with how many of how many are done.

    Raises:
        JobFailed: naming the first job that failed.
        OSError: if results cannot be written.
    """
    adapter: TypeAdapter[R] = TypeAdapter(work.row)
    folder = folder / work.name
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{_key(work.name, job)}.json" for job in work.jobs]
    found = [_read(adapter, path) for path in paths]
    todo = [k for k, row in enumerate(found) if row is None]
    done = len(found) - len(todo)
    tell(done, len(found))

    def keep(k: int, row: R) -> None:
        nonlocal done
        _write(paths[k], adapter.dump_json(row))
        found[k] = row
        done += 1
        tell(done, len(found))

    if workers <= 1 or len(todo) <= 1:
        for k in todo:
            with quiet_stdout():
                row = _guarded(work.run, work.jobs[k])
            keep(k, row)
    else:
        _spread(work, todo, workers, keep)
    return tuple((job, row) for job, row in zip(work.jobs, found, strict=True) if row is not None)


def _spread(work: Work[J, R], todo: Sequence[int], workers: int, keep: Callable[[int, R], None]) -> None:
    with ProcessPoolExecutor(
        max_workers=min(workers, len(todo)), mp_context=get_context("spawn"), initializer=silence_stdout
    ) as pool:
        running: dict[Future[R], int] = {pool.submit(_guarded, work.run, work.jobs[k]): k for k in todo}
        try:
            for future in as_completed(running):
                keep(running[future], future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _guarded(run: Callable[[J], R], job: J) -> R:
    try:
        return run(job)
    except Exception as err:
        raise JobFailed(f"{job!r}: {type(err).__name__}: {err}") from err


def _read(adapter: TypeAdapter[R], path: Path) -> R | None:
    try:
        return adapter.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # a half-written or foreign file is a job to do again


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
