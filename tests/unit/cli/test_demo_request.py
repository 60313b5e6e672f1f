"""What ``feederloop demo`` refuses, and that it says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feederloop.cli import app

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--date", "2018-02-30"], "--date 2018-02-30"),
        (["--date", "2031-01-01"], "from 2018-01-04 to 2018-12-30"),
        (["--date", "2018-12-31"], "from 2018-01-04 to 2018-12-30"),
        (["--json", "no/such/folder/x.json"], "--json"),
        (["--seed", "-1"], "--seed"),
        (["--start", "25:00"], "--start 25:00"),
        (["--start", "10:35"], "ten-minute edge"),
        (["--homes", "40"], "40 homes"),
        (["--scenario", "Z"], "no scenario 'Z'"),
        (["--homes", "33", "--scenario", "D"], "homes the network lacks"),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_reason(
    options: list[str], says: str, tmp_path: Path
) -> None:
    outcome = RUNNER.invoke(app, ["demo", *options, "--no-control", "--out", str(tmp_path)])
    assert outcome.exit_code == 2
    assert says in outcome.output
    assert not (tmp_path / "result.json").exists()


def test_a_network_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "net.json"
    bad.write_text('{"format": "something else"}')
    outcome = RUNNER.invoke(app, ["demo", "--network", str(bad), "--no-control", "--out", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "net.json" in outcome.output


def test_a_file_in_the_way_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    outcome = RUNNER.invoke(app, ["demo", "--no-control", "--out", str(tmp_path / "out")])
    assert outcome.exit_code == 2
    assert "--out" in outcome.output
    assert (tmp_path / "out").read_text() == "mine"


def test_no_control_plays_the_comparison_only(tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    outcome = RUNNER.invoke(
        app,
        [
            "demo",
            "--no-control",
            "--slots",
            "2",
            "--start",
            "12:00",
            "--json",
            str(copy),
            "--out",
            str(tmp_path),
        ],
    )
    assert outcome.exit_code == 0, outcome.output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["with_control"] is None
    assert len(result["slots"]) == 2
    assert copy.read_text() == (tmp_path / "result.json").read_text()
    assert (tmp_path / "index.html").exists()
