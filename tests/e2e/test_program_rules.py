"""``check_rules`` of both programs: what a peer does wrong is counted and logged, and that is all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from config.program import load
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from feederloop.ven_program import running_ven
from feederloop.vtn_program import RunningVtn, running_vtn
from schemas.oadr20b.model import RegisterReport
from ven_client.session import State
from vtn_server.decision import Reply
from vtn_server.state import Provision, VenId

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

VERSION = b' ei:schemaVersion="2.0b"'


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


def forget_version(vtn: RunningVtn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the VTN leave the schemaVersion out of its metadata (r509): a reply to a poll, or posted."""
    encode = vtn.service.mail.encode

    def careless(message: Reply, *, signed: bool) -> bytes:
        body = encode(message, signed=signed)
        return body.replace(VERSION, b"") if isinstance(message, RegisterReport) else body

    monkeypatch.setattr(vtn.service.mail, "encode", careless)


@pytest.mark.parametrize("check", [True, False], ids=["checked", "not checked"])
@pytest.mark.parametrize("push", [False, True], ids=["pull", "push"])
async def test_a_ven_sees_what_its_vtn_does_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    push: bool,
    check: bool,
) -> None:
    server = {
        "port": 0,
        "plain": True,
        "db": f"sqlite:///{tmp_path}/vtn.sqlite",
        "limits": {"check_rules": check},
    }
    async with running_vtn(load(VtnProgramSettings, None, server, {})) as vtn:
        forget_version(vtn, monkeypatch)
        await vtn.operator.provision([Provision(ven_id=VenId("ven-1"), ven_name="alice")])
        client = {
            "vtn": vtn.url,
            "name": "alice",
            "plain": True,
            "push": push,
            "check_rules": check,
            "polling": {"idle": "PT1S"},
        }
        with caplog.at_level("WARNING", logger="ven_client.rulewatch"):
            async with running_ven(load(VenProgramSettings, None, client, {})) as ven:
                await until(lambda: ven.client.session.state is State.OPERATIONAL)
                await until(lambda: dict(vtn.service.stats().messages_out).get("RegisterReport", 0) > 0)
                await until(lambda: dict(vtn.service.stats().messages_in).get("RegisteredReport", 0) > 0)
        told = [each.getMessage() for each in caplog.records if each.name == "ven_client.rulewatch"]
        counted = dict(vtn.service.stats().rule_violations)
    if check:
        assert any("r509 oadrRegisterReport/@schemaVersion" in each for each in told)
        assert counted.keys() == {"509"}
    else:
        assert (told, counted) == ([], {})
