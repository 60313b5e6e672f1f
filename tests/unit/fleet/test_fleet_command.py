"""What ``feederloop fleet`` refuses, in which words, before anything is played."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from config.settings import data_path
from dso_engine.feeder import load_network
from dso_engine.feeder_file import read_network_file
from dso_engine.opendss_write import opendss_script
from feederloop import fleet_cli
from feederloop.cli import app
from feederloop.fleet import cluster
from feederloop.fleet.generate import Fleet
from feederloop.fleet.work import Here
from tests.unit.fleet.fleet_rig import small_fleet

REFERENCE = data_path("networks", "lv_33h_17pv.json")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["fleet", "--workers", "1", *words])


def refused(*words: str) -> str:
    done = call(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--homes", "5", "--homes-most", "3"], "--homes-most 3 is less than --homes 5"),
        (["--pv-share", "0.9", "0.1"], "--pv-share 0.9 0.1"),
        (["--pv-share", "0", "1.5"], "--pv-share 0 1.5"),
        (["--pv-share", "nan", "1"], "--pv-share nan 1"),
        (["--reach", "0", "1"], "--reach 0 1"),
        (["--reach", "1", "inf"], "--reach 1 inf"),
        (["--start", "12:05"], "every ten minutes"),
        (["--start", "25:00"], "no day and time"),
        (["--date", "2019-05-16"], "known for 2018 only"),
        (
            ["--date", "2018-12-31", "--start", "23:00", "--slots", "7"],
            "2018-12-31 23:00 to 2019-01-01 00:00",
        ),
    ],
)
def test_a_refusal_names_the_option(words: list[str], said: str, tmp_path: Path) -> None:
    assert said in refused(*words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def _without_homes(network: dict[str, Any]) -> None:
    network["households"], network["pv"] = [], []


def _on_no_bus(network: dict[str, Any]) -> None:
    network["households"][0]["bus"] = "nowhere"


@pytest.mark.parametrize(
    ("spoil", "said"), [(_without_homes, "without homes"), (_on_no_bus, "is on nowhere")]
)
def test_a_network_that_cannot_be_used_is_named(
    spoil: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    network = json.loads(REFERENCE.read_text(encoding="utf-8"))
    spoil(network)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(network), encoding="utf-8")
    told = refused("--network", str(path), "--out", str(tmp_path / "out"))
    assert "mine.json: " in told
    assert said in told


def test_a_fleet_has_references_with_homes() -> None:
    reference = read_network_file(REFERENCE).model_copy(update={"households": (), "pv": ()})
    with pytest.raises(ValueError, match="lv_33h_17pv: a reference has homes"):
        Fleet(references=(reference,), neighbourhood=small_fleet().neighbourhood, seed=1)


def test_a_script_may_be_varied(tmp_path: Path) -> None:
    path = tmp_path / "mine.dss"
    path.write_text(opendss_script(load_network(REFERENCE)), encoding="utf-8")
    assert len(fleet_cli._reference(path).households) == 33


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(*args: object) -> None:
        raise AssertionError("it was played")

    monkeypatch.setattr("feederloop.fleet.work.run_fleet", play)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert "file" in refused("--out", str(tmp_path / "file"))
    assert "file" in refused("--out", str(tmp_path / "file" / "deeper"))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_no_more_workers_are_started_than_there_are_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(workers: int) -> None:
        raise AssertionError(f"{workers} workers")

    monkeypatch.setattr(cluster, "local_client", started)
    monkeypatch.setattr(cluster, "dask_is_here", lambda: True)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(fleet_cli, "import_module", lambda name: None)  # what it compiles takes seconds
    where = fleet_cli._Where(workers=None, scheduler=None, tls=(None, None, None))
    with ExitStack() as stack:
        assert isinstance(fleet_cli._crew(stack, where, blocks=1), Here)
        for blocks, workers in ((3, 3), (40, 4)):
            with pytest.raises(AssertionError, match=f"^{workers} workers"):
                fleet_cli._crew(stack, where, blocks=blocks)
