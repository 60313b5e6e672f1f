"""``feederloop metrics``: what the engine noted down of its network, as figures."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dso_engine.model import SLOT
from dso_engine.records import GridRecord
from dso_engine.slot_figures import SlotFigures
from feederloop.dso_state import RecordFolder
from feederloop.metrics_cli import metrics_app, read_grid

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
IMPORT = SlotFigures(
    transformer_p_kw=(6.0, 3.0, 0.0),
    v_max_v=(231.0, 232.0, 233.0),
    v_min_v=(225.0, 226.0, 227.0),
    vuf_pct=0.5,
    line_loss_kw=0.6,
    neutral_loss_kw=0.12,
    transformer_loss_kw=0.3,
    transformer_s_kva=9.0,
)
EXPORT = replace(IMPORT, transformer_p_kw=(-12.0, 0.0, 0.0), vuf_pct=1.5, transformer_s_kva=12.0)


def noted(folder: Path, *slots: tuple[int, SlotFigures]) -> None:
    records = RecordFolder(folder)
    for number, figures in slots:
        slot = MIDNIGHT + number * SLOT
        records.record(GridRecord(slot=slot, at=slot + timedelta(minutes=8), figures=figures))
    records.close()
    (today,) = folder.glob("records-*.jsonl")  # the folder names its files by the wall clock
    today.rename(folder / "records-2026-11-24.jsonl")


def told(folder: Path, *words: str) -> dict[str, object]:
    result = CliRunner().invoke(metrics_app, [str(folder), "--from", "2026-11-24", "--json", *words])
    assert result.exit_code == 0, result.output
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def test_figures_by_hand(tmp_path: Path) -> None:
    noted(tmp_path, (0, IMPORT), (1, EXPORT))
    answer = told(tmp_path)
    assert (answer["slots"], answer["slots_seen"]) == (144, 2)
    assert answer["imported_kwh"] == pytest.approx(9.0 / 6)
    assert answer["exported_kwh"] == pytest.approx(12.0 / 6)
    assert answer["vuf_pct"] == pytest.approx(1.5)
    assert answer["line_loss_kwh"] == pytest.approx(2 * 0.6 / 6)
    assert answer["transformer_loss_kwh"] == pytest.approx(2 * 0.3 / 6)


def test_the_later_record_of_a_slot_counts_and_a_half_line_does_not(tmp_path: Path) -> None:
    noted(tmp_path, (0, EXPORT), (0, IMPORT))
    file = tmp_path / "records-2026-11-24.jsonl"
    file.write_text(
        file.read_text(encoding="utf-8") + '{"kind": "GridRecord", "slot": "2026-', encoding="utf-8"
    )
    (found,) = read_grid(tmp_path, MIDNIGHT.date(), MIDNIGHT.date())
    assert found.figures == IMPORT


def test_other_days_are_left_out(tmp_path: Path) -> None:
    noted(tmp_path, (-1, EXPORT), (143, IMPORT), (144, EXPORT))
    found = read_grid(tmp_path, MIDNIGHT.date(), MIDNIGHT.date())
    assert [each.slot for each in found] == [MIDNIGHT + 143 * SLOT]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "24.11.2026"), "YYYY-MM-DD"),
        (("--from", "2026-11-24", "--to", "2026-11-23"), "from --from on"),
        (("--from", "2020-01-01"), "nothing is noted down"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    result = CliRunner().invoke(metrics_app, [str(tmp_path), *words])
    assert result.exit_code == 2
    assert says in result.output


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(metrics_app, [str(tmp_path / "elsewhere")])
    assert result.exit_code == 2
    assert "no such folder" in result.output
