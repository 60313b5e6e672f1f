"""The computations of ``feederloop bench engine`` are done anew in each round."""

from __future__ import annotations

from pathlib import Path

from config import settings
from feederloop.bench.engine import auction_book, measure_engine, phase_cases

NETWORKS = Path(settings.__file__).parent / "networks"


def test_everything_is_measured_and_nothing_is_remembered() -> None:
    """A full power flow takes milliseconds; one that is only looked up takes microseconds."""
    rows = {row.what: row for row in measure_engine(NETWORKS, lambda line: None, quick=True)}
    assert all(row.rounds == 5 and 0.0 < row.best_ms <= row.median_ms for row in rows.values())
    assert rows["power flow, pandapower, 50 homes"].best_ms > 1.0
    assert rows["power flow, fixed point, 50 homes"].best_ms > 0.01
    assert len([what for what in rows if what.startswith("phases")]) == 2


def test_inputs_are_the_same_each_time() -> None:
    assert auction_book(20, seed=1) == auction_book(20, seed=1)
    first, second = (phase_cases(4, rounds=2) for _ in range(2))
    assert [work() for work in first] == [work() for work in second]
    assert first[0]() != first[1]()
