"""Percentiles, medians, ratios by round, the page, the file: hand-computed."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from feederloop.bench.files import merged, read, write
from feederloop.bench.load import BenchError
from feederloop.bench.model import (
    Contestant,
    EngineRow,
    Figure,
    Kind,
    Machine,
    Record,
    Sample,
    Scope,
    Skipped,
    Target,
    Transport,
    compare,
    percentile,
    summarise,
)
from feederloop.bench.page import page, tables

MACHINE = Machine(
    date="2026-11-24 10:00 UTC", processor="P", cores=2, system="Linux", versions=("Python 3",), load=0.5
)


def sample(who: Contestant, cpu_ms: float | None, *latencies_ms: float, per_s: float = 100.0) -> Sample:
    return Sample(
        kind=Kind.EMPTY_POLL,
        transport=Transport.PLAIN,
        contestant=who,
        cpu_ms=cpu_ms,
        per_s=per_s,
        latencies_ms=latencies_ms or (1.0,),
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0), (0.0, 1.0)]
)
def test_a_percentile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    values = tuple(float(k) for k in range(100, 0, -1))
    assert percentile(values, share) == expected


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile((7.5,), 0.99) == 7.5


def test_a_row_has_medians_of_rounds_and_percentiles_of_all_messages() -> None:
    rounds = (
        sample(Contestant.OURS, 1.0, 1.0, 9.0, per_s=10.0),
        sample(Contestant.OURS, 5.0, 2.0, 3.0, per_s=30.0),
        sample(Contestant.OURS, 2.0, 4.0, 5.0, per_s=20.0),
    )
    (row,) = summarise(rounds)
    assert (row.cpu_ms, row.per_s, row.rounds, row.messages) == (2.0, 20.0, 3, 6)
    assert (row.p50_ms, row.p99_ms) == (3.0, 9.0)


def test_a_row_without_cpu_says_so() -> None:
    (row,) = summarise((sample(Contestant.REMOTE, None),))
    assert row.cpu_ms is None


def test_ratios_are_of_rounds_next_to_each_other() -> None:
    """The machine was three times slower in the second round, for both: the ratio does not see it."""
    samples = (
        sample(Contestant.OURS, 1.0),
        sample(Contestant.OPENLEADR, 2.0),
        sample(Contestant.OURS, 3.0),
        sample(Contestant.OPENLEADR, 6.0),
        sample(Contestant.OURS, 1.0),
        sample(Contestant.OPENLEADR, 1.5),
    )
    target = Target(kind=Kind.EMPTY_POLL, transport=Transport.PLAIN, against=Contestant.OPENLEADR, ratio=2.0)
    (found,) = compare(samples, (target,))
    assert (found.ratio, found.lowest, found.met) == (2.0, 1.5, True)
    (missed,) = compare(samples[4:], (target,))
    assert (missed.ratio, missed.met) == (1.5, False)


def test_what_nobody_asks_for_is_neither_met_nor_missed() -> None:
    samples = (sample(Contestant.OURS, 1.0), sample(Contestant.BARE, 0.5))
    (found,) = compare(samples, ())
    assert (found.ratio, found.target, found.met) == (0.5, None, None)


def test_there_is_no_ratio_without_both_sides() -> None:
    assert compare((sample(Contestant.OPENLEADR, 1.0),)) == ()
    assert compare((sample(Contestant.OURS, None), sample(Contestant.OPENLEADR, 1.0))) == ()


def record() -> Record:
    samples = (sample(Contestant.OURS, 0.5, 1.25), sample(Contestant.OPENLEADR, 1.0, 2.5))
    return Record(
        machine=MACHINE,
        vens=7,
        rows=summarise(samples),
        comparisons=compare(samples),
        skipped=(
            Skipped(
                kind=Kind.REPORT_1, transport=Transport.PLAIN, contestant=Contestant.REMOTE, reason="why not"
            ),
        ),
    )


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    write(record(), tmp_path / "figures.json")
    assert read(tmp_path / "figures.json") == record()


@pytest.mark.parametrize("content", ["", "[]", '{"machine": 1}'])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "figures.json").write_text(content)
    with pytest.raises(BenchError, match=r"figures\.json"):
        read(tmp_path / "figures.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="none"):
        read(tmp_path / "none.json")


def test_the_page_says_what_was_measured_where_and_what_not() -> None:
    engine = Record(
        machine=MACHINE, engine=(EngineRow(what="auction", rounds=3, median_ms=1.5, best_ms=1.0),)
    )
    text = page(merged((record(), engine)))
    assert "2026-11-24 10:00 UTC" in text
    assert "| empty poll | plain | openleadr | 2.00 | 2.00 | 2 | yes |" in text
    assert "| empty poll | plain | feederloop | 0.500 | 100 | 1.2 | 1.2 | 1 |" in text
    assert "| auction | 1.500 | 1.000 | 3 |" in text
    assert "report, 1 interval of the VTN at the URL: why not" in text
    assert "7 VENs" in text
    assert "asyncio's own" in text


def test_figures_from_another_machine_or_time_say_so() -> None:
    later, other = replace(MACHINE, date="2026-11-25 10:00 UTC"), replace(MACHINE, processor="Q", cores=64)
    row = EngineRow(what="auction", rounds=3, median_ms=1.5, best_ms=1.0)
    soak = Figure(scope=Scope.SOAK, what="length", value=60.0, unit="min")
    same = page(merged((record(), Record(machine=MACHINE, engine=(row,), figures=(soak,)))))
    assert "another machine" not in same
    assert same.count("2026-11-24 10:00 UTC") == 1
    text = page(merged((record(), Record(machine=later, engine=(row,)))))
    assert "one after the other. Date: 2026-11-25 10:00 UTC.\n" in text
    found = merged((Record(machine=other, engine=(row,)), Record(machine=other, figures=(soak,)), record()))
    text = page(found)
    assert text.count("another machine or with other versions: Q, 64 cores") == 2
    assert text.index("* Machine: P, 2 cores") < text.index("## Engine")
    assert merged((found,)) == found


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"date": "later", "load": 9.0}, False),
        ({"versions": ("Python 3", "numpy 2")}, False),
        ({"versions": ("Python 4",)}, True),
        ({"cores": 3}, True),
        ({"system": "BSD"}, True),
    ],
)
def test_what_makes_figures_incomparable(change: dict[str, Any], differs: bool) -> None:
    other = replace(MACHINE, **change)
    assert other.differs(MACHINE) is MACHINE.differs(other) is differs


def test_of_two_runs_the_later_counts() -> None:
    runs = [
        Record(machine=MACHINE, figures=(Figure(scope=Scope.SOAK, what="length", value=v, unit="min"),))
        for v in (13.0, 60.0)
    ]
    assert [each.value for each in merged(tuple(runs)).figures] == [60.0]


def test_a_table_in_a_pipe_cuts_no_word() -> None:
    samples = (replace(sample(Contestant.REMOTE, 0.5), transport=Transport.SIGNED_RSA, kind=Kind.REPORT_60),)
    console = Console(width=60, file=StringIO())
    console.print(tables(Record(machine=MACHINE, rows=summarise(samples))))
    assert isinstance(console.file, StringIO)
    assert "…" not in console.file.getvalue()


def test_a_page_without_messages_has_the_engine_only() -> None:
    row = EngineRow(what="auction", rounds=3, median_ms=1.5, best_ms=1.0)
    text = page(Record(machine=MACHINE, engine=(row,)))
    assert "## Engine" in text
    assert "## VTN" not in text
