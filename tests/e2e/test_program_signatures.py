"""The two programs with required XML signatures, pull and push, and one that does not sign."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from certs.pki import Role
from config.program import load
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from feederloop.ven_program import RunningVen, running_ven
from feederloop.vtn_program import running_vtn
from tests.e2e.tls_parties import HOST, make_parties, mark
from ven_client.session import State
from vtn_server.state import Provision, VenId

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

VEN = VenId("ven-alice")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


def vtn_settings(folder: Path, policy: str) -> VtnProgramSettings:
    options: dict[str, object] = {
        "port": 0,
        "db": f"sqlite:///{folder.parent}/vtn.sqlite",
        "poll_period": "PT1S",
        "tls": {"folder": folder / "issued/vtn/localhost"},
        "signature": {"policy": policy},
    }
    return load(VtnProgramSettings, None, options, {})


def ven_settings(folder: Path, url: str, policy: str, *, push: bool) -> VenProgramSettings:
    options: dict[str, object] = {
        "vtn": url,
        "name": "alice",
        "push": push,
        "state": folder.parent / "alice.state",
        "polling": {"idle": "PT1S", "retry": "PT1S"},
        "tls": {
            "folder": folder / "issued/ven/alice",
            "vtn_fingerprint": [mark(folder, Role.VTN, "localhost")],
        },
        "signature": {"policy": policy},
    }
    return load(VenProgramSettings, None, options, {})


def operational(ven: RunningVen) -> bool:
    return ven.client.session.state is State.OPERATIONAL


@pytest.mark.parametrize("push", [False, True])
async def test_both_programs_with_required_signatures(tmp_path: Path, push: bool) -> None:
    folder = tmp_path / "pki"
    make_parties(folder, "alice", hosts=(HOST,))
    fingerprint = mark(folder, Role.VEN, "alice")
    async with running_vtn(vtn_settings(folder, "required")) as vtn:
        await vtn.operator.provision([Provision(ven_id=VEN, ven_name="alice", fingerprint=fingerprint)])
        async with running_ven(ven_settings(folder, vtn.url, "required", push=push)) as ven:
            await until(lambda: operational(ven))
            found = vtn.service.memory.ven(VEN)
            assert found is not None
            assert found.registration is not None
            assert found.registration.signs
        assert vtn.service.stats().http_errors == ()


async def test_a_ven_that_does_not_sign_is_not_served_where_it_must(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    make_parties(folder, "alice", hosts=(HOST,))
    fingerprint = mark(folder, Role.VEN, "alice")
    async with running_vtn(vtn_settings(folder, "required")) as vtn:
        await vtn.operator.provision([Provision(ven_id=VEN, ven_name="alice", fingerprint=fingerprint)])
        async with running_ven(ven_settings(folder, vtn.url, "off", push=False)) as ven:
            await until(lambda: bool(vtn.service.stats().http_errors))
            assert not operational(ven)
        assert dict(vtn.service.stats().messages_in) == {}
