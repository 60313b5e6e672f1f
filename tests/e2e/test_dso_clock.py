"""``feederloop dso`` on a machine whose clock is an hour ahead of the VTN's, and is then set right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.dso_settings import DsoProgramSettings, TelemetrySection, VtnSection
from config.settings import data_path
from config.vtn_settings import OperatorApi, VtnProgramSettings
from dso_engine.guard import Steadfast
from dso_engine.model import SLOT
from feederloop import dso_program
from feederloop.clock import WallClock
from feederloop.dso_ledger import AccountLedger
from feederloop.dso_program import running_dso
from feederloop.dso_settlement import ACCOUNTS
from feederloop.vtn_program import running_vtn

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TOKEN = "0123456789abcdef"
PATIENCE_S = 60.0


class Ahead(WallClock):
    """A clock that somebody has set wrong, until he sets it right."""

    lead = timedelta(hours=1)

    def now(self) -> datetime:
        return super().now() + self.lead


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.05)


async def test_nothing_is_sealed_or_settled_before_the_clock_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, state = Ahead(), tmp_path / "state"
    monkeypatch.setattr(dso_program, "WallClock", lambda: clock)
    monkeypatch.setattr(dso_program, "_STATUS_S", 0.1)
    monkeypatch.setattr(dso_program, "Steadfast", partial(Steadfast, retry=timedelta(seconds=0.1)))
    (tmp_path / "homes.csv").write_text("home,ven_id\nH01,ven-1\n", encoding="utf-8")
    (tmp_path / "meters.csv").write_text("time,pcc,p_kw,q_kvar,v_v\n", encoding="utf-8")
    vtn_settings = VtnProgramSettings(
        db=f"sqlite:///{tmp_path / 'vtn.sqlite'}",
        port=0,
        plain=True,
        operator=OperatorApi(port=0, token=SecretStr(TOKEN)),
    )

    def records() -> list[dict[str, Any]]:
        texts = [path.read_text(encoding="utf-8") for path in state.glob("*.jsonl")]
        return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]

    def arms() -> list[dict[str, Any]]:
        return [each for each in records() if each["kind"] == "ArmRecord"]

    def status() -> dict[str, Any]:
        path = state / "status.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    async with running_vtn(vtn_settings) as vtn:
        assert vtn.api_url is not None
        settings = DsoProgramSettings(
            network=data_path("networks", "lv_50h_rural.json"),
            homes=tmp_path / "homes.csv",
            state=state,
            vtn=VtnSection(url=vtn.api_url, token=SecretStr(TOKEN)),
            telemetry=TelemetrySection(path=tmp_path / "meters.csv"),
        )
        async with running_dso(settings):
            await until(lambda: status().get("clock") == "refused")
            await until(lambda: {"clock", "taking up"} <= {each.get("what") for each in records()})
            assert 3_500 < status()["clock_ahead_s"] <= 3_600
            assert {each["kind"] for each in records()} == {"FaultRecord"}
            assert list((state / "market").iterdir()) == []
            assert status()["settled_until"] is None
            with closing(AccountLedger.of(state / ACCOUNTS)) as ledger:
                assert ledger.first_hour <= datetime.now(UTC) + timedelta(hours=1), "not by the wrong clock"
            clock.lead = timedelta(0)
            await until(lambda: status().get("clock") == "agree")
            await until(lambda: bool(arms()))
            assert status()["clock"] == "agree"
            assert all(datetime.fromisoformat(each["slot"]) <= datetime.now(UTC) + SLOT for each in arms())
