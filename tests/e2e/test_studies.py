"""``feederloop study``, the quick form of each: it runs, says something, and does not do it twice."""

from __future__ import annotations

import csv
from pathlib import Path

from lxml import html
from typer.testing import CliRunner

from feederloop.study_cli import study_app


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _run(name: str, out: Path) -> Path:
    done = CliRunner().invoke(study_app, [name, "--quick", "--out", str(out), "--workers", "1"])
    assert done.exit_code == 0, done.output
    return out / name


def _check_page(folder: Path) -> None:
    page = html.fromstring((folder / "report.html").read_bytes())
    drawn = page.xpath("//*[local-name()='svg'][@role='img']")
    assert len(drawn) == len(list(folder.glob("*.svg"))) > 0
    assert len(page.xpath("//table[1]/tbody/tr")) >= 1
    assert "nan" not in page.text_content().lower().split()


def test_market(tmp_path: Path) -> None:
    folder = _run("market", tmp_path)
    _check_page(folder)
    rows = _rows(folder / "market_days.csv")
    assert {row["battery_kwh"] for row in rows} == {"3", "6"}
    assert all(float(row["traded_kwh"]) > 1.0 for row in rows)
    assert all(float(row["bills_with_eur"]) < float(row["bills_without_eur"]) for row in rows)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / ".results").rglob("*.json")}
    _run("market", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / ".results").rglob("*.json")} == kept


def test_phases(tmp_path: Path) -> None:
    folder = _run("phases", tmp_path)
    _check_page(folder)
    rows = [row for row in _rows(folder / "phases_days.csv") if row["scenario"] == "chapter4_33h"]
    unbalance = {row["method"]: float(row["vuf_mean_pct"]) for row in rows}
    assert unbalance["mean_based"] < unbalance["market"]
    assert {row["method"]: int(row["operations"]) for row in rows}["static"] == 0


def test_rtc(tmp_path: Path) -> None:
    folder = _run("rtc", tmp_path)
    _check_page(folder)
    rows = {row["law"]: row for row in _rows(folder / "rtc_runs.csv")}
    assert rows.keys() == {"none", "secant"}
    assert int(rows["secant"]["slots_beyond"]) <= int(rows["none"]["slots_beyond"])
    assert int(rows["none"]["pcc_slots_to_control"]) == 0
    assert int(rows["secant"]["pcc_slots_to_control"]) >= 1
    # Without the price nothing is held back, so the noon of a clear day shows that there was none.
    assert float(rows["none"]["curtailed_kwh"]) == 0.0
    assert float(rows["none"]["worst_pct"]) > float(rows["secant"]["worst_pct"])


def test_hosting(tmp_path: Path) -> None:
    folder = _run("hosting", tmp_path)
    _check_page(folder)
    found = {
        (row["scenario"], row["mechanism"]): float(row["kwp_per_pv_home"])
        for row in _rows(folder / "hosting.csv")
    }
    assert found["A", "neither"] > found["D", "neither"] > 0.0
    assert all(found[s, "phase switches"] > found[s, "neither"] for s in "AD")
