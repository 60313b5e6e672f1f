"""``feederloop vtn`` and ``feederloop ven`` as far as no program runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from feederloop.cli import app
from tests.unit.vtn import rig as kit
from vtn_server.sqlstore import open_store

CLEAN: dict[str, str | None] = {"VTN_PORT": None, "VTN_OPERATOR__TOKEN": None}


def call(*words: str, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(app, list(words), env=CLEAN | (env or {}))


def test_the_commands_are_there() -> None:
    told = call("--help").stdout
    for name in ("demo", "operator", "ven", "vtn"):
        assert f" {name} " in told
    for words in (("vtn",), ("vtn", "backup"), ("ven",), ("operator", "events", "create")):
        assert call(*words, "--help").exit_code == 0


def test_check_config(tmp_path: Path) -> None:
    file = tmp_path / "vtn.toml"
    file.write_text('db = "sqlite:///x.sqlite"\nport = 9\n', encoding="utf-8")
    secret = "0123456789abcdef"
    found = call(
        *("vtn", "--config", str(file), "--check-config", "--plain", "--no-push"),
        *("--set", "retention.readings=P2Y"),
        *("--set", 'market_contexts=["a", "b"]'),
        env={"VTN_PORT": "10", "VTN_OPERATOR__TOKEN": secret},
    )
    assert found.exit_code == 0, found.output
    assert f'db = "sqlite:///{tmp_path}/x.sqlite"' in found.stdout
    assert "port = 10\n" in found.stdout
    assert "push = false" in found.stdout
    assert 'readings = "P2Y"' in found.stdout
    assert 'market_contexts = ["a", "b"]' in found.stdout
    assert secret not in found.stdout
    ven = call("ven", "--check-config", "--name", "x", "--push", "--home", "H12", "--vtn", "http://h:1")
    assert 'name = "x"' in ven.stdout
    assert 'id = "H12"' in ven.stdout
    assert "push = true" in ven.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("vtn", "--check-config", "--set", "prt=1"), "prt: no such setting"),
        (("vtn", "--check-config", "--set", "port"), "KEY=VALUE"),
        (("vtn", "--check-config", "--set", "port.x=1", "--port", "1"), "port"),
        (("vtn", "--check-config", "--config", "/nowhere.toml"), "nowhere"),
        (("vtn", "--check-config", "--log-level", "loud"), "log.level"),
        (("ven", "--check-config", "--vtn", "vtn.example"), "vtn"),
        (("ven", "--check-config", "--set", "home.hose=1"), "home.hose"),
    ],
)
def test_a_typo_is_refused(words: tuple[str, ...], told: str) -> None:
    found = call(*words)
    assert found.exit_code == 2
    assert told in found.stderr
    assert found.stdout == ""


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("vtn", "--port", "0"), "--plain"),
        (("vtn", "--plain", "--host", "0.0.0.0"), "--plain-anywhere"),
        (("vtn", "--plain", "--port", "0", "--vens", "gone.toml"), "gone.toml"),
        (("vtn", "--plain", "--port", "0", "--db", "mysql://x/y"), "mysql"),
        (("vtn", "--plain", "--port", "0", "--token-file", "gone.token"), "gone.token"),
        (("vtn", "--plain", "--port", "0", "--workers", "2"), "2 workers need PostgreSQL"),
        (("ven", "--plain", "--home", "H99"), "H99"),
        (("ven", "--plain", "--vtn", "http://192.0.2.1"), "192.0.2.1"),
        (("ven", "--plain", "--set", 'polling.idle="P1M"'), "P1M"),
        (("ven", "--plain", "--set", "home.homes=7"), "7 homes"),
    ],
)
def test_what_keeps_a_program_from_starting_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = call(*words)
    assert found.exit_code == 2
    assert found.stdout == ""
    assert told in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_copied_restored_and_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def fill() -> Result:
        store = open_store("a.sqlite")
        await kit.Rig(store).start()
        refused = await asyncio.to_thread(call, "vtn", "prune", "--db", "a.sqlite", "--readings", "P1D")
        await store.close()
        return refused

    refused = asyncio.run(fill())
    assert (refused.exit_code, "a.sqlite" in refused.stderr) == (2, True)  # a VTN uses it
    copied = call("vtn", "backup", "--db", "a.sqlite", "copy")
    assert (copied.exit_code, "2 vens" in copied.stdout) == (0, True)
    assert call("vtn", "backup", "--db", "a.sqlite", "copy").exit_code == 2  # nothing is written over
    restored = call("vtn", "restore", "--db", "b.sqlite", "copy")
    assert (restored.exit_code, "2 vens" in restored.stdout) == (0, True)
    again = call("vtn", "restore", "--db", "b.sqlite", "copy")
    assert (again.exit_code, "b.sqlite" in again.stderr) == (2, True)
    assert call("vtn", "restore", "--db", "b.sqlite", "--replace", "copy").exit_code == 0
    pruned = call("vtn", "--db", "b.sqlite", "prune", "--readings", "P1D")
    assert (pruned.exit_code, pruned.stdout) == (0, "deleted 0 readings, 0 events, 0 answers\n")
