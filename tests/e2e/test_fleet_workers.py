"""``feederloop fleet``: on one process, on worker processes one of which is killed, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from lxml import html
from typer.testing import CliRunner, Result

from feederloop.cli import app
from feederloop.fleet import cluster
from feederloop.fleet.cluster import DaskCrew, DaskTls, local_client, remote_client
from feederloop.fleet.work import FleetError, Here, run_fleet
from tests.unit.fleet.fleet_rig import small_plan

QUICK = ["--feeders", "3", "--slots", "2", "--homes", "6", "--homes-most", "9", "--per-block", "2"]


def call(out: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["fleet", *words, "--out", str(out)])


def _silent(done: int, total: int) -> None:
    assert done <= total


def test_one_process_writes_table_summary_and_page(tmp_path: Path) -> None:
    words = [*QUICK, "--workers", "1", "--reach", "2", "4", "--pv-share", "0.6", "0.9", "--start", "12:10"]
    done = call(tmp_path / "a", *words)
    assert done.exit_code == 0, done.output
    assert "CPU per feeder and slot" in done.output
    assert "not confirmed by pandapower:              0 of 6" in done.output.replace("... ", "")
    with (tmp_path / "a" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["feeder"] for row in rows] == ["0", "1", "2", "0", "1", "2"]
    assert {row["slot"] for row in rows} == {"2018-05-16T11:10:00+00:00", "2018-05-16T11:20:00+00:00"}
    assert all(row["verified"] == "True" and 6 <= int(row["homes"]) <= 9 for row in rows)
    told = json.loads((tmp_path / "a" / "fleet.json").read_text())
    assert told["summary"]["feeders"] == 3
    assert len(told["feeders"]) == 3
    assert told["summary"]["v_high"] == max(float(row["v_high"]) for row in rows)
    page = html.fromstring((tmp_path / "a" / "index.html").read_bytes())
    assert (
        len(page.xpath("//*[local-name()='svg'][@role='img']"))
        == len(list((tmp_path / "a").glob("*.svg")))
        == 2
    )
    assert "nan" not in page.text_content().lower().split()
    assert call(tmp_path / "b", *words[:-4], *words[-4:], "--per-block", "3").exit_code == 0
    for name in ("results.csv", "fleet.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def _check_listeners() -> None:
    """Nobody from elsewhere can reach scheduler, nannies or workers."""
    this = psutil.Process()
    processes = [this, *this.children(recursive=True)]
    found = {
        (process.pid, connection.laddr.ip)
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address for _, address in found} == {"127.0.0.1"}
    assert len({pid for pid, _ in found}) >= 3


@pytest.mark.e2e
def test_a_killed_worker_changes_nothing() -> None:
    """Two worker processes; one gets SIGKILL while blocks are under way, and its blocks move to the other."""
    plan = small_plan(feeders=4, slots=4, per_block=1)
    expected = run_fleet(plan, Here(), _silent).results
    with local_client(2) as client:
        crew = DaskCrew(client)
        # Every worker builds its models first, so that the one killed below has blocks that it owns.
        run_fleet(small_plan(feeders=4, slots=1, per_block=1), crew, _silent)
        pids = crew.everywhere(os.getpid)
        assert len(set(pids)) == 2
        _check_listeners()
        killed: list[int] = []

        def kill(done: int, total: int) -> None:
            if done == 2 and not killed:
                killed.append(min(pids))
                os.kill(killed[0], signal.SIGKILL)

        run = run_fleet(plan, crew, kill)
        assert killed
        assert run.results == expected
        assert run.moved >= 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--date", "2018-02-30"], "2018-02-30 12:00 is no day and time"),
        (["--start", "25:00"], "2018-05-16 25:00 is no day and time"),
        (["--start", "12:05"], "every ten minutes"),
        (["--date", "2031-01-01"], "known for 2018 only"),
        (["--pv-share", "0.9", "0.1"], "--pv-share 0.9 0.1 is no range"),
        (["--reach", "0", "1"], "--reach 0 1 is no range"),
        (["--homes-most", "3"], "--homes-most 3 is less than --homes 6"),
        (["--network", "pyproject.toml"], "pyproject.toml"),
        (["--workers", "2", "--scheduler", "tls://h:1"], "give one of them"),
        (["--tls-ca", "ca.pem"], "go with --scheduler"),
        (["--scheduler", "tcp://192.0.2.7:8786"], "anybody can run code"),
        (["--scheduler", "tls://192.0.2.7:8786"], "needs --tls-ca, --tls-cert and --tls-key"),
        (["--scheduler", "192.0.2.7:8786"], "is no address of a scheduler"),
        (["--scheduler", "tls://192.0.2.7:port"], "is no address of a scheduler"),
        (
            ["--scheduler", "tls://h:1", "--tls-ca", "no.pem", "--tls-cert", "no.pem", "--tls-key", "no.pem"],
            "no.pem: no such file",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_reason(words: list[str], says: str, tmp_path: Path) -> None:
    local = [] if "--scheduler" in words else ["--workers", "1"]
    done = call(tmp_path / "out", "--feeders", "1", "--slots", "1", "--homes", "6", *local, *words)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert not (tmp_path / "out").exists()


def _without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)


def test_without_dask_several_processes_are_refused_and_one_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_dask(monkeypatch)
    done = call(tmp_path / "a", *QUICK, "--workers", "2")
    assert done.exit_code == 2
    assert "install feederloop[fleet], or use --workers 1" in done.output
    with pytest.raises(FleetError, match="fleet"), remote_client("tcp://127.0.0.1:1", None):
        pass
    done = call(tmp_path / "b", "--feeders", "1", "--slots", "1", "--homes", "6")
    assert done.exit_code == 0, done.output


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    nonsense = tmp_path / "key.pem"
    nonsense.write_text("no key")
    files = DaskTls(ca=nonsense, certificate=nonsense, key=nonsense)
    with pytest.raises(FleetError, match="no certificate"), remote_client("tls://127.0.0.1:1", files):
        pass
