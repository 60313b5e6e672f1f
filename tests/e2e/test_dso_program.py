"""``feederloop dso`` as a process against a VTN and two VENs in processes of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dso_engine.feeder import load_network
from dso_engine.model import Pcc, Phase
from feederloop.operator_client import ApiClient
from tests.e2e.day_rig import WEAK, load_site
from tests.e2e.test_programs import TOKEN, program, until
from vtn_server import api_models as api

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

VTN = """
db = "sqlite:///vtn.sqlite"
vens = "vens.csv"
port = 0
poll_period = "PT1S"
plain = true
ask_reports = "loop"
[operator]
port = 0
"""
VENS = "name,ven_id\nhome-1,ven-H01\nhome-2,ven-H02\n"
HOMES = "home,ven_id,pv_kwp,switch,contract_kva\nH01,ven-H01,7,,9\nH02,ven-H02,7,,9\nH03,,7,,9\n"
DSO = """
network = "eight.json"
homes = "homes.csv"
state = "state"
[vtn]
url = "{url}"
token = "{token}"
[telemetry]
path = "meters.csv"
"""


class Feeder:
    """Writes what its meters show, once a second."""

    def __init__(self, path: Path, pccs: Sequence[Pcc]) -> None:
        self._path, self._pccs = path, pccs
        self.p_kw = dict.fromkeys(pccs, 1.0)
        path.write_text("time,pcc,p_kw,q_kvar,v_v\n", encoding="utf-8")

    async def run(self) -> None:
        while True:
            now = datetime.now(UTC).isoformat()
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(f"{now},{pcc.id},{self.p_kw[pcc]},0.2,236.5\n" for pcc in self._pccs)
            await asyncio.sleep(1.0)


@asynccontextmanager
async def running(feeder: Feeder) -> AsyncIterator[None]:
    task = asyncio.create_task(feeder.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((folder / "state").glob("*.jsonl"))]
    lines = [line for text in texts for line in text.split("\n")[:-1]]  # one may be half written
    return [each for each in map(json.loads, lines) if each["kind"] == kind]


def status_in(state: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads((state / "status.json").read_text())
        return found
    return {}


def prices(client: ApiClient) -> list[api.EventOut]:
    events = client.ask(api.EventList, "GET", "events").events
    return [each for each in events if each.event_id.startswith("rtc-")]


async def test_a_price_is_published_because_the_meters_show_a_limit_near(tmp_path: Path) -> None:
    load_site(WEAK, tmp_path, seed=1)
    feeder = Feeder(tmp_path / "meters.csv", load_network(tmp_path / "eight.json").pccs)
    (tmp_path / "vtn.toml").write_text(VTN, encoding="utf-8")
    (tmp_path / "vens.csv").write_text(VENS, encoding="utf-8")
    (tmp_path / "homes.csv").write_text(HOMES, encoding="utf-8")
    dso = ("dso", "--config", "dso.toml")
    async with running(feeder), program(tmp_path, "vtn", "operator", "vtn", "--config", "vtn.toml") as vtn:
        (url,), (operator_url,) = vtn.told["vtn"], vtn.told["operator"]
        text = DSO.format(url=operator_url, token=TOKEN)
        (tmp_path / "dso.toml").write_text(text, encoding="utf-8")
        client = ApiClient(operator_url, TOKEN)
        ven = ("ven", "--plain", "--vtn", url, "--set", 'polling.idle="PT1S"', "--health-port", "0")
        async with (
            program(tmp_path, "ven1", "health", *ven, "--name", "home-1", "--home", "H01"),
            program(tmp_path, "ven2", "health", *ven, "--name", "home-2", "--home", "H02"),
            program(tmp_path, "dso1", "vtn", *dso) as calm,
        ):
            await until(
                lambda: client.ask(api.VenList, "GET", "vens"),
                lambda found: [each.registered for each in found.vens] == [True, True],
            )
            await until(lambda: records(tmp_path, "ArmRecord"), lambda found: len(found) > 0)
            calm.process.kill()  # the next one finds the folder free
            await calm.process.wait()
            assert not any(each["armed"] for each in records(tmp_path, "ArmRecord"))
            assert prices(client) == []

            feeder.p_kw[Pcc(feeder=1, phase=Phase.A)] = -14.0  # the sun is out
            async with program(tmp_path, "dso2", "vtn", *dso) as near:
                found = await until(lambda: prices(client), lambda found: len(found) > 0)
                fetched = await until(
                    lambda: client.ask(api.EventDetail, "GET", "events", found[0].event_id),
                    lambda event: len(event.deliveries) == len(event.audience),
                )
                assert fetched.audience == ("ven-H01", "ven-H02")
                assert fetched.signals[0].intervals[0].value == 0.0
                armed = await until(
                    lambda: records(tmp_path, "ArmRecord")[-1], lambda found: bool(found["armed"])
                )
                assert armed["v_dev_estimate"] > 0.08
                status = await until(
                    lambda: status_in(tmp_path / "state"),
                    lambda found: bool(found) and found["vtn_reached"] and found["readings_taken"] > 0,
                )
                assert status["vens_unknown_to_vtn"] == []
                assert status["readings_refused"] == {}
                assert await near.stop() == 0, near.log.read_text()
            lines = near.lines()
            assert [line for line in lines if line["level"] in ("warning", "error")] == []
            assert lines[-1]["text"] == "stopped"
            assert records(tmp_path, "FaultRecord") == []
