"""Jobs are done once, kept, and done again when they or the programme change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from feederloop.study import work
from feederloop.study.work import JobFailed, Work, do


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    square: int
    path: tuple[float, ...]


_DONE: list[int] = []


def square(job: Job) -> Row:
    _DONE.append(job.n)
    if job.n == 13:
        raise ValueError("unlucky")
    return Row(square=job.n**2, path=(0.5, float(job.n)))


def _work(*numbers: int) -> Work[Job, Row]:
    _DONE.clear()
    return Work(name="squares", jobs=tuple(Job(n=n) for n in numbers), run=square, row=Row)


def test_results_come_in_the_order_of_the_jobs_and_are_kept(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    rows = do(_work(3, 1), tmp_path, workers=1, tell=lambda done, total: told.append((done, total)))
    assert [(job.n, row.square) for job, row in rows] == [(3, 9), (1, 1)]
    assert told == [(0, 2), (1, 2), (2, 2)]
    again = do(_work(1, 3, 4), tmp_path, workers=1, tell=lambda done, total: None)
    assert _DONE == [4]
    assert [row for _, row in again] == [
        Row(square=1, path=(0.5, 1.0)),
        Row(square=9, path=(0.5, 3.0)),
        Row(square=16, path=(0.5, 4.0)),
    ]


def test_a_failed_job_is_named_and_the_others_stay(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"Job\(n=13\): ValueError: unlucky"):
        do(_work(2, 13), tmp_path, workers=1, tell=lambda done, total: None)
    do(_work(2), tmp_path, workers=1, tell=lambda done, total: None)
    assert _DONE == []


def test_a_torn_result_is_done_again(tmp_path: Path) -> None:
    do(_work(5), tmp_path, workers=1, tell=lambda done, total: None)
    (kept,) = (tmp_path / "squares").iterdir()
    kept.write_bytes(kept.read_bytes()[:10])
    ((_, row),) = do(_work(5), tmp_path, workers=1, tell=lambda done, total: None)
    assert _DONE == [5]
    assert row.square == 25


def test_results_of_another_programme_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    do(_work(5), tmp_path, workers=1, tell=lambda done, total: None)
    monkeypatch.setattr(work, "_fingerprint", lambda: "another")
    do(_work(5), tmp_path, workers=1, tell=lambda done, total: None)
    assert _DONE == [5]


def test_jobs_are_spread_over_processes(tmp_path: Path) -> None:
    numbers: Work[int, int] = Work(name="sizes", jobs=(-2, 3), run=abs, row=int)
    assert do(numbers, tmp_path, workers=2, tell=lambda done, total: None) == ((-2, 2), (3, 3))
