"""``feederloop bench soak`` with a few VENs for a moment, and how figures of crowds become a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feederloop.bench.files import merged, read, write
from feederloop.bench.model import Figure, Machine, Record, Remark, Scope
from feederloop.bench.page import page
from feederloop.bench.soak import SoakSample, growth_per_hour
from feederloop.bench_cli import bench_app

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

MACHINE = Machine(date="2026-01-01", processor="p", cores=2, system="s", versions=("v 1",), load=0.0)


def by_name(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    return {each.what: each for each in figures}


def sample(minutes: float, memory_mib: float) -> SoakSample:
    return SoakSample(at_s=60.0 * minutes, memory_mib=memory_mib, files=1, tasks=1, store_mib=1.0)


def test_growth_is_the_slope_after_the_first_half() -> None:
    filling = [sample(k, 100.0 + 10.0 * k) for k in range(20)]
    growing = [sample(20 + k, 300.0 + 0.5 * k) for k in range(20)]
    assert growth_per_hour([*filling, *growing]) == pytest.approx(30.0)
    assert growth_per_hour([sample(k, 150.0) for k in range(30)]) == pytest.approx(0.0, abs=1e-6)
    assert growth_per_hour([sample(0, 1.0), sample(1, 2.0)]) == 0.0


def test_figures_become_tables_and_the_newest_of_a_scope_counts(tmp_path: Path) -> None:
    old = Record(
        machine=MACHINE, figures=(Figure(scope=Scope.SCALE, what="w", value=9.0, unit="s", most=5.0),)
    )
    new = replace(old, figures=(Figure(scope=Scope.SCALE, what="w", value=1.5, unit="s", most=5.0),))
    other = Record(
        machine=MACHINE,
        figures=(Figure(scope=Scope.SOAK, what="grows", value=20.0, unit="MiB/h", most=12.0),),
        remarks=(Remark(scope=Scope.SOAK, text="an hour"),),
    )
    for number, each in enumerate((old, new, other)):
        write(each, tmp_path / f"{number}.json")
    record = merged(tuple(read(tmp_path / f"{number}.json") for number in range(3)))
    text = page(record)
    assert "| w | 1.50 | s | 5 | yes |" in text
    assert "| grows | 20 | MiB/h | 12 | no |" in text
    assert "* an hour" in text
    assert "9.00" not in text


def test_a_soak_mixes_everything_and_says_whether_memory_grows(tmp_path: Path) -> None:
    words = ["soak", "--minutes", "0.05", "--vens", "3", "--pause", "0.02", "--every", "0.3"]
    words += ["--growth", "-1000000", "--json", str(tmp_path / "s.json")]
    done = CliRunner().invoke(bench_app, words)
    assert done.exit_code == 1, done.output  # nothing shrinks that fast
    figures = by_name(read(tmp_path / "s.json").figures)
    assert figures["growth of memory after the first half"].met is False
    assert figures["faults seen by VENs"].value == 0, done.output
    assert figures["answers 5xx"].value == 0
    assert figures["messages received by the server"].value > 10
    assert figures["open files, at the most"].value > 3
