"""The programs as processes on loopback: a VTN, a pull VEN, a push VEN, an operator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from feederloop.operator_client import ApiClient
from feederloop.operator_events import Wanted, event_of
from ven_client.slots import slot_start
from vtn_server import api_models as api

TOKEN = "0123456789abcdef-operator"
PATIENCE_S = 90.0
STOP_S = 20.0
VENS = """
[[ven]]
name = "pull-home"
ven_id = "ven-pull"
groups = ["street"]

[[ven]]
name = "push-home"
ven_id = "ven-push"
groups = ["street"]
"""

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
T = TypeVar("T")
M = TypeVar("M", bound=api.Model)


@dataclass
class Program:
    """A program that runs, with what it printed at its start."""

    process: asyncio.subprocess.Process
    log: Path
    told: dict[str, list[str]] = field(default_factory=dict)

    async def read_until(self, last: str) -> None:
        """Read what the program prints up to the line of that name."""
        assert self.process.stdout is not None
        while last not in self.told:
            line = (await self.process.stdout.readline()).decode()
            assert line, self.log.read_text(encoding="utf-8")
            name, _, value = line.strip().partition(": ")
            self.told.setdefault(name, []).append(value)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), STOP_S)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]


def environment() -> dict[str, str]:
    ours = ("VTN_", "VEN_", "DSO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"VTN_OPERATOR__TOKEN": TOKEN}


@asynccontextmanager
async def program(folder: Path, name: str, last: str, *words: str) -> AsyncIterator[Program]:
    log = folder / f"{name}.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "feederloop", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=environment(),
            cwd=folder,
        )
    found = Program(process=process, log=log)
    try:
        await asyncio.wait_for(found.read_until(last), PATIENCE_S)
        yield found
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(ask: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """Ask again and again until the answer fits."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await asyncio.to_thread(ask)
            if fits(found):
                return found
            await asyncio.sleep(0.2)  # other processes have to do something


async def ask(client: ApiClient, answers: type[M], method: str, *path: str, body: api.Model) -> M:
    return await asyncio.to_thread(lambda: client.ask(answers, method, *path, body=body))


async def ready(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/ready") as response:
        return response.status, await response.json()


async def test_a_vtn_two_vens_and_an_operator(tmp_path: Path) -> None:
    (tmp_path / "vens.toml").write_text(VENS, encoding="utf-8")
    (tmp_path / "vtn.toml").write_text(
        'db = "sqlite:///vtn.sqlite"\nvens = "vens.toml"\nport = 0\npoll_period = "PT1S"\nplain = true\n'
        "[operator]\nport = 0\n",
        encoding="utf-8",
    )
    async with AsyncExitStack() as stack:
        vtn = await stack.enter_async_context(
            program(tmp_path, "vtn", "operator", "vtn", "--config", "vtn.toml")
        )
        assert vtn.told["vtn_id"] == ["Feederloop_VTN"]
        assert [each.rsplit("/", 1)[1] for each in vtn.told["market_context"]] == [
            "local-market",
            "day-ahead-market",
            "phase-switching",
            "real-time-price",
        ]
        (url,), (operator_url,) = vtn.told["vtn"], vtn.told["operator"]
        common = ("ven", "--plain", "--vtn", url, "--set", 'polling.idle="PT1S"', "--health-port", "0")
        pull = await stack.enter_async_context(
            program(tmp_path, "pull", "health", *common, "--name", "pull-home", "--home", "H07", "--pull")
        )
        push = await stack.enter_async_context(
            program(tmp_path, "push", "health", *common, "--name", "push-home", "--home", "H12", "--push")
        )
        client = ApiClient(operator_url, TOKEN)
        await _operate(client)

        status, told = await ready(url)
        assert (status, told["ready"], told["vtn_id"]) == (200, True, "Feederloop_VTN")
        status, told = await ready(pull.told["health"][0])
        assert (status, told["ven_id"], told["state"]) == (200, "ven-pull", "operational")

        for each in (pull, push, vtn):
            assert await each.stop() == 0, each.log.read_text(encoding="utf-8")
            lines = each.lines()
            assert lines[0]["level"] == "warning"  # plain HTTP is said aloud
            assert [line for line in lines if line["level"] == "error"] == []
            assert lines[-1]["text"] == "stopped"


async def _operate(client: ApiClient) -> None:
    """Wait for both VENs, publish a price, ask for data."""
    vens = await until(
        lambda: client.ask(api.VenList, "GET", "vens"),
        lambda found: all(each.registered for each in found.vens),
    )
    assert [(each.ven_id, each.push) for each in vens.vens] == [("ven-pull", False), ("ven-push", True)]
    price = Wanted(
        market_context="http://feederloop.example/real-time-price",
        duration="PT10M",
        start=datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5),
        prices_eur_per_kwh=(0.05,),
        relative=True,
        groups=("street",),
    )
    event = await ask(client, api.EventOut, "POST", "events", body=event_of(price))
    detail = await until(
        lambda: client.ask(api.EventDetail, "GET", "events", event.event_id),
        lambda found: len(found.opts) == 2,
    )
    assert [(each.ven_id, each.opt_type, each.code) for each in detail.opts] == [
        ("ven-pull", "optIn", "200"),
        ("ven-push", "optIn", "200"),
    ]
    slot = slot_start(datetime.now(UTC)) - timedelta(minutes=10)
    wanted = api.ReportCreate(report_specifier_id="status", report_back="PT0S", start=slot, duration="PT10M")
    for ven_id in ("ven-pull", "ven-push"):
        await until(
            lambda ven_id=ven_id: client.ask(api.VenDetail, "GET", "vens", ven_id),  # type: ignore[misc]  # a default binds it
            lambda found: bool(found.metadata),
        )
        await ask(client, api.ReportOut, "POST", "vens", ven_id, "reports", body=wanted)
    readings = await until(
        lambda: client.ask(api.ReadingList, "GET", "readings", query={"report_specifier_id": "status"}),
        lambda found: {each.ven_id for each in found.readings} == {"ven-pull", "ven-push"},
    )
    assert all(each.online for each in readings.readings)
    changed = api.EventModify(values=(api.SignalValues(signal_id="signal", values=(0.07,)),))
    await ask(client, api.EventOut, "PATCH", "events", event.event_id, body=changed)
    await until(
        lambda: client.ask(api.EventDetail, "GET", "events", event.event_id),
        lambda found: [each.modification_number for each in found.opts] == [1, 1],
    )
