"""The computations of ``feederloop bench engine`` are done anew in each round."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feederloop.bench.engine import auction_book, phase_cases
from feederloop.bench.run import measure_all_of_engine


def test_everything_is_measured_and_nothing_is_remembered(capfd: pytest.CaptureFixture[str]) -> None:
    """A full power flow takes milliseconds; one that is only looked up takes microseconds."""
    record = measure_all_of_engine(datetime(2026, 11, 24, tzinfo=UTC), lambda line: None, quick=True)
    assert capfd.readouterr().out == ""  # not the greeting of a solver either
    rows = {row.what: row for row in record.engine}
    assert all(row.rounds == 5 and 0.0 < row.best_ms <= row.median_ms for row in rows.values())
    assert rows["power flow, pandapower, 50 homes"].best_ms > 1.0
    assert rows["power flow, fixed point, 50 homes"].best_ms > 0.01
    assert len([what for what in rows if what.startswith("phases")]) == 2


def test_inputs_are_the_same_each_time() -> None:
    assert auction_book(20, seed=1) == auction_book(20, seed=1)
    first, second = (phase_cases(4, rounds=2) for _ in range(2))
    assert [work() for work in first] == [work() for work in second]
    assert first[0]() != first[1]()
