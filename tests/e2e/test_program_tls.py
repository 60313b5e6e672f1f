"""The two programs over mutual TLS, pull and push: enrolment, renewal and revocation while they run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.pki import Pki, Role
from config.program import load
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from dso_engine.gateway_messages import Contexts
from feederloop.ven_program import RunningVen, running_ven
from feederloop.vtn_program import RunningVtn, running_vtn
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ResponseRequired, ServiceName
from schemas.oadr20b.errors import CertificateTrouble
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.tls_parties import HOST, client, make_parties, mark, revoke, wall
from tests.unit.vtn.rig import price_signal
from ven_client.link import Trouble
from ven_client.messages import code_of
from ven_client.session import State
from ven_client.transport import HttpPull
from ven_client.vtn_identity import VtnIdentity
from vtn_server.records import EventDraft
from vtn_server.state import Provision, VenId

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

PATIENCE_S = 60.0
PULL, PUSH = VenId("ven-pull"), VenId("ven-push")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parties") / "pki"
    make_parties(folder, "pull", "push", hosts=(HOST,))
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "pki"
    make_parties(folder, "pull")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "pki"))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read again several times a second, not every minute."""
    monkeypatch.setattr("feederloop.tls_sides.EVERY_S", 0.1)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def a_vtn(folder: Path, **fingerprints: str) -> AsyncIterator[RunningVtn]:
    """A VTN that knows VENs by the fingerprints of their certificates."""
    options = {
        "port": 0,
        "db": f"sqlite:///{folder.parent}/vtn.sqlite",
        "poll_period": "PT1S",
        "tls": {"folder": folder / "issued/vtn/localhost"},
    }
    async with running_vtn(load(VtnProgramSettings, None, options, {})) as vtn:
        await vtn.operator.provision(
            [
                Provision(ven_id=VenId(f"ven-{name}"), ven_name=name, fingerprint=fingerprint)
                for name, fingerprint in fingerprints.items()
            ]
        )
        yield vtn


@asynccontextmanager
async def a_ven(
    folder: Path, url: str, name: str, *, push: bool = False, cert: str | None = None, **tls: object
) -> AsyncIterator[RunningVen]:
    options = {
        "vtn": url,
        "name": name,
        "push": push,
        "polling": {"idle": "PT1S", "retry": "PT1S"},
        "tls": {"folder": folder / f"issued/ven/{cert or name}", **tls},
    }
    async with running_ven(load(VenProgramSettings, None, options, {})) as ven:
        yield ven
        assert not ven.task.done()  # whatever happens with certificates, it goes on


def operational(ven: RunningVen) -> bool:
    return ven.client.session.state is State.OPERATIONAL


def troubled(ven: RunningVen) -> bool:
    return ven.client.link.trouble is Trouble.CERTIFICATE


def registered(vtn: RunningVtn) -> set[str]:
    return {str(each.ven_id) for each in vtn.operator.vens() if each.registered}


def answered(vtn: RunningVtn, event_id: str) -> set[str]:
    return {str(ven_id) for ven_id, opt in vtn.operator.opts(event_id).items() if opt.code == "200"}


def event(event_id: str, *vens: VenId) -> EventDraft:
    """A price that begins soon."""
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    return EventDraft(
        event_id=event_id,
        market_context=Contexts().price,
        dtstart=start,
        duration=Duration(minutes=10),
        signals=(price_signal((0.1,)),),
        audience=vens,
        response_required=ResponseRequired.ALWAYS,
    )


async def test_pull_and_push_and_renewal_of_everybody(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    marks = {name: mark(folder, Role.VEN, name) for name in ("pull", "push")}
    pki = Pki(folder)
    async with (
        a_vtn(folder, **marks) as vtn,
        a_ven(folder, vtn.url, "pull") as pull,
        a_ven(folder, vtn.url, "push", push=True, vtn_fingerprint=vtn.fingerprints) as push,
    ):
        assert vtn.url.startswith("https://")
        assert push.address is not None
        assert push.address.startswith("https://")
        assert (pull.fingerprint, push.fingerprint) == (marks["pull"], marks["push"])
        await until(lambda: operational(pull) and operational(push))
        await vtn.operator.publish_events([event("e1", PULL, PUSH)])
        await until(lambda: answered(vtn, "e1") == {PULL, PUSH})
        # The VENs' certificates: the new one is unknown until it is enrolled.
        pki.rotate(Role.VEN, "pull", wall())
        await until(lambda: pull.client.session.state is not State.OPERATIONAL)
        await vtn.operator.set_fingerprint(PULL, mark(folder, Role.VEN, "pull"))
        await until(lambda: operational(pull))
        # The VTN's: its push VEN has pinned the old one, its pull VEN goes by the name.
        pki.rotate(Role.VTN, "localhost", wall())
        await shown(vtn.url, folder, "pull", mark(folder, Role.VTN, "localhost"))
        await vtn.operator.publish_events([event("e2", PULL, PUSH)])
        await until(lambda: answered(vtn, "e2") == {PULL})
        await until(lambda: "somebody who is not the VTN" in caplog.text)
        assert operational(pull)
        assert answered(vtn, "e2") == {PULL}


async def test_a_ven_of_another_authority(folder: Path, foreign: Path) -> None:
    """Neither believes the other; with the VTN's trust alone it is still the VTN that refuses."""
    async with a_vtn(folder, pull=mark(foreign, Role.VEN, "pull")) as vtn:
        async with a_ven(foreign, vtn.url, "pull") as ven:
            await until(lambda: troubled(ven))
            assert "the VTN's certificate is refused" in ven.client.link.reason
        trust, crl = folder / "trust.pem", folder / "crl.pem"
        async with a_ven(foreign, vtn.url, "pull", trust=trust, crl=crl) as ven:
            await until(lambda: troubled(ven))
            assert "refuse our certificate" in ven.client.link.reason
        assert registered(vtn) == set()


async def test_a_ven_with_the_certificate_of_another(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    marks = {name: mark(folder, Role.VEN, name) for name in ("pull", "push")}
    async with a_vtn(folder, **marks) as vtn, a_ven(folder, vtn.url, "pull", cert="push") as ven:
        replies: list[str] = []
        accept = ven.client.session.on_reply

        def note(request: m.AnyMessage, reply: m.AnyMessage, now: datetime) -> None:
            replies.append(f"{type(reply).__name__} {code_of(reply)}")
            accept(request, reply, now)

        ven.client.session.on_reply = note  # type: ignore[method-assign]  # to see what the VTN says
        await until(lambda: len(replies) > 1)
        assert set(replies) == {"CreatedPartyRegistration 463"}
        assert "the VTN refused CreatePartyRegistration with 463: 'this certificate may not" in caplog.text
        assert f"the certificate is not that of ven-pull; its certificate is {marks['push']}" in caplog.text
        assert registered(vtn) == set()
        assert ven.client.session.state is not State.OPERATIONAL


@pytest.mark.parametrize("push", [False, True])
async def test_a_revoked_ven_and_its_return_with_a_new_certificate(folder: Path, push: bool) -> None:
    name = "push" if push else "pull"
    ven_id, pki = VenId(f"ven-{name}"), Pki(folder)
    async with (
        a_vtn(folder, **{name: mark(folder, Role.VEN, name)}) as vtn,
        a_ven(folder, vtn.url, name, push=push) as ven,
    ):
        await until(lambda: operational(ven))
        revoke(pki, folder, Role.VEN, name)
        await refused(vtn.url, folder, name)
        await vtn.operator.publish_events([event("e1", ven_id)])
        if not push:
            await until(lambda: troubled(ven))
        pki.rotate(Role.VEN, name, wall())
        assert answered(vtn, "e1") == set()
        await vtn.operator.set_fingerprint(ven_id, mark(folder, Role.VEN, name))
        await until(lambda: answered(vtn, "e1") == {ven_id})
        assert ven.client.link.trouble is None


def probe(url: str, folder: Path, name: str, *pinned: str) -> HttpPull:
    """A connection of its own, with the certificate of a VEN."""
    tls = client(folder, Role.VEN, name)
    return HttpPull(url, now=wall, tls=tls, vtn=VtnIdentity(HOST, wall, tls, pinned))


async def trouble(transport: HttpPull) -> bool:
    """Whether one of the two refuses the certificate of the other."""
    try:
        await transport.exchange(ServiceName.OADR_POLL, m.Poll(ven_id="ven"))
    except CertificateTrouble:
        return True
    finally:
        await transport.close()
    return False


async def shown(url: str, folder: Path, name: str, mark: str) -> None:
    """Wait until the VTN shows a certificate."""
    while await trouble(probe(url, folder, name, mark)):
        pass


async def refused(url: str, folder: Path, name: str) -> None:
    """Wait until the VTN refuses a VEN's certificate."""
    while not await trouble(probe(url, folder, name)):
        pass
