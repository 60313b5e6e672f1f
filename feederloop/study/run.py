"""Runs studies by name: jobs, then the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from feederloop.report.counting import counting
from feederloop.study.hosting import hosting_report, hosting_work
from feederloop.study.market import market_work
from feederloop.study.market_says import market_report
from feederloop.study.page import Report, write_report
from feederloop.study.phases import phases_work
from feederloop.study.phases_says import phases_report
from feederloop.study.rtc import rtc_work
from feederloop.study.rtc_says import rtc_report
from feederloop.study.work import JobFailed, Work, do

__all__ = ["StudyError", "run_studies"]

J = TypeVar("J")
R = TypeVar("R")

_CACHE: Final = ".results"


class StudyError(Exception):
    """A study could not be finished; the text says which job failed and why."""


def run_studies(names: tuple[str, ...], out: Path, *, quick: bool, workers: int) -> Iterator[Path]:
    """Run studies one after the other; yield the page of each as it is ready.

    Raises:
        StudyError: if a job fails or a folder cannot be written.
    """
    runners: dict[str, Callable[[], Report]] = {
        "market": lambda: market_report(_done(market_work(quick=quick), out, workers)),
        "phases": lambda: phases_report(_done(phases_work(quick=quick), out, workers)),
        "rtc": lambda: rtc_report(_done(rtc_work(quick=quick), out, workers)),
        "hosting": lambda: hosting_report(_done(hosting_work(quick=quick), out, workers)),
    }
    for name in names:
        try:
            yield write_report(runners[name](), out / name)
        except (JobFailed, OSError) as err:
            raise StudyError(str(err)) from err


def _done(work: Work[J, R], out: Path, workers: int) -> tuple[tuple[J, R], ...]:
    with counting(work.name) as tell:
        return do(work, out / _CACHE, workers=workers, tell=tell)
