"""The VTN program with mutual TLS: its files, their renewal while it runs, and alarms when that fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certs.files import read_certificates
from certs.keys import fingerprint
from certs.pki import Pki, Role
from config.program import load
from config.vtn_settings import VtnProgramSettings
from feederloop.vtn_program import RunningVtn, running_vtn
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from tests.e2e.tls_parties import client, make_parties, mark, revoke

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


class Utility:
    """The authority, and the program that runs."""

    def __init__(self, folder: Path, pki: Pki, vtn: RunningVtn) -> None:
        self.folder = folder
        self.pki = pki
        self.vtn = vtn

    async def register(self, name: str) -> str:
        """Return the code a VEN gets on a connection of its own; empty where TLS refuses it."""
        body = wire.write(m.CreatePartyRegistration(request_id="r", ven_name=name, http_pull_model=True))
        tls = client(self.folder, Role.VEN, name).context
        url = f"{self.vtn.url}/OpenADR2/Simple/2.0b/EiRegisterParty"
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
                session.post(url, data=body, headers={"Content-Type": "application/xml"}) as response,
            ):
                reply = wire.read(await response.read())
        except aiohttp.ClientError:
            return ""
        assert isinstance(reply, m.CreatedPartyRegistration)
        return reply.response.code

    async def ready(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.vtn.health_url}/ready") as found:
            assert found.status == 200
            told: dict[str, Any] = await found.json()
            return told

    async def hang_up(self, wanted: bool) -> dict[str, Any]:
        """Send SIGHUP to ourselves and wait until an alarm is there, or is not."""
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(20):
            while ("alarms" in (told := await self.ready())) is not wanted:
                await asyncio.sleep(0)
        return told


@pytest.fixture
async def utility(tmp_path: Path) -> AsyncIterator[Utility]:
    folder = tmp_path / "pki"
    pki = make_parties(folder, "alice", "bob")
    vens = tmp_path / "vens.toml"
    vens.write_text(
        f'[[ven]]\nname = "alice"\nven_id = "1"\nfingerprint = "{mark(folder, Role.VEN, "alice")}"\n'
        '[[ven]]\nname = "bob"\nven_id = "2"\n',
        encoding="utf-8",
    )
    given = {
        "port": 0,
        "db": f"sqlite:///{tmp_path}/vtn.sqlite",
        "vens": vens,
        "tls": {"folder": folder / "issued" / "vtn" / "localhost"},
        "health": {"port": 0},
    }
    async with running_vtn(load(VtnProgramSettings, None, given, {})) as vtn:
        yield Utility(folder, pki, vtn)


async def test_only_who_is_enrolled_is_served(utility: Utility) -> None:
    assert utility.vtn.url.startswith("https://")
    own = utility.folder / "issued" / "vtn" / "localhost" / "ec.pem"
    assert utility.vtn.fingerprints == (fingerprint(read_certificates(own)[0]),)
    assert await utility.register("alice") == "200"
    assert await utility.register("bob") == "463"  # known, but nobody said by which certificate
    await utility.vtn.operator.set_fingerprint(
        utility.vtn.operator.vens()[1].ven_id, mark(utility.folder, Role.VEN, "bob")
    )
    assert await utility.register("bob") == "200"


async def test_a_revocation_holds_without_a_restart(utility: Utility) -> None:
    assert await utility.register("alice") == "200"
    revoke(utility.pki, utility.folder, Role.VEN, "alice")
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(20):
        while await utility.register("alice") != "":
            await asyncio.sleep(0)


async def test_files_that_cannot_be_used_are_an_alarm_and_no_end(utility: Utility) -> None:
    assert "alarms" not in await utility.ready()
    trust = utility.folder / "trust.pem"
    shutil.copy(trust, utility.folder / "kept.pem")
    trust.write_text("nothing", encoding="utf-8")
    told = await utility.hang_up(wanted=True)
    assert "trust.pem" in told["alarms"][0]
    shutil.copy(utility.folder / "kept.pem", trust)
    assert await utility.register("alice") == "200"  # with what was loaded before
    await utility.hang_up(wanted=False)
