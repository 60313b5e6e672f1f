"""Where a VTN may post to: nowhere in its own network, unless that was listed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import DeploymentError, InvalidData
from tests.unit.vtn.rig import SETTINGS, MemoryStore, Rig
from vtn_server.push_targets import PushTargets

WORLD = PushTargets()
STREET = PushTargets(networks=(ip_network("10.20.0.0/16"), ip_network("fd00:1::/32")), ports=(443, 8443))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1", "fe80::1%eth0"),
        *("169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "224.0.0.1", "ff02::1"),
        *("2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "255.255.255.255", "nonsense"),
    ],
)
def test_only_public_addresses_where_nothing_is_listed(address: str) -> None:
    assert WORLD.refusal(address, 443) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert WORLD.refusal(address, 8080) is None


def test_what_is_listed_and_nothing_else() -> None:
    assert STREET.refusal("10.20.3.4", 443) is None
    assert STREET.refusal("fd00:1::7", 8443) is None
    assert STREET.refusal("8.8.8.8", 443) is not None
    assert STREET.refusal("10.21.0.1", 443) is not None
    assert "port 80" in (STREET.refusal("10.20.3.4", 80) or "")


def test_metadata_services_are_not_let_in_by_a_wide_network() -> None:
    everything = PushTargets(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert everything.refusal("192.168.1.1", 80) is None
    assert everything.refusal("169.254.169.254", 80) is not None
    assert everything.refusal("fe80::1", 80) is not None
    assert PushTargets(networks=(ip_network("169.254.7.0/24"),)).refusal("169.254.7.1", 80) is None


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:8080/x", DeploymentError),
        ("http://LOCALHOST/x", DeploymentError),
        ("http://a.localhost./x", DeploymentError),
        ("http://[::1]/x", DeploymentError),
        ("http://169.254.169.254/latest", DeploymentError),
        ("http://user:password@8.8.8.8/", InvalidData),
        ("ftp://8.8.8.8/", InvalidData),
        ("http://8.8.8.8:99999/", InvalidData),
    ],
)
def test_an_address_is_judged_when_a_ven_registers(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        WORLD.check(url)


def test_a_name_is_judged_when_it_is_connected_to_but_not_its_port() -> None:
    WORLD.check("https://home.example:8443/oadr")
    STREET.check("https://home.example/oadr")
    with pytest.raises(DeploymentError, match="port 80"):
        STREET.check("http://home.example/oadr")
    with pytest.raises(DeploymentError, match="https"):
        replace(WORLD, https_only=True).check("http://home.example/oadr")


async def test_a_ven_is_told_and_nothing_is_kept() -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, push=True)).start()
    message = m.CreatePartyRegistration(
        request_id="r", ven_name="alice", http_pull_model=False, transport_address="http://169.254.169.254/x"
    )
    await rig.send(message, m.CreatedPartyRegistration, "469")
    assert not rig.operator.vens()[0].registered
