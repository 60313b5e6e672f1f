"""TLS contexts: profiles, mutual authentication, renewal and revocation, in handshakes without sockets."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from certs.crl import crl_pem, extend_crl, load_crls, new_crl, read_crls
from certs.files import read_certificates, write_public
from certs.keys import fingerprint
from certs.peer import check_peer, peer_of, refusal, still_valid
from certs.pki import Pki, Role
from certs.tls import ClientTls, CrlStale, ServerTls, TlsError, TlsFiles, TlsProfile
from schemas.oadr20b.errors import CertificateRefused
from tests.unit.certs.authority import REAL_NOW, connect, days, files, leaf

CBC = ("ECDHE-ECDSA-AES128-SHA256", "AES128-SHA256")


def server(folder: Path, *, crl: bool = False, profile: TlsProfile = TlsProfile.MODERN) -> ServerTls:
    return ServerTls(
        files(folder, "vtn", "localhost", "rsa", "ec", crl=crl), REAL_NOW, profile=profile, alarm=_no_alarm
    )


def client(
    folder: Path, name: str = "ven-1", kind: str = "ec", profile: TlsProfile = TlsProfile.MODERN
) -> ssl.SSLContext:
    return ClientTls(files(folder, "ven", name, kind), REAL_NOW, profile=profile).context


def _no_alarm(text: str) -> None:
    raise AssertionError(text)


def cipher(end: ssl.SSLObject) -> str:
    found = end.cipher()
    assert found is not None
    return found[0]


@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.parametrize("profile", TlsProfile)
def test_both_ends_know_each_other(made: Path, profile: TlsProfile, kind: str) -> None:
    link = connect(client(made, kind=kind, profile=profile), server(made, profile=profile).context)
    peer = peer_of(link)
    assert peer is not None
    assert peer.fingerprint == fingerprint(leaf(made, "ven", "ven-1", kind))
    assert peer.common_name == "ven-1"
    assert link.server.version() == ("TLSv1.3" if profile is TlsProfile.MODERN else "TLSv1.2")


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        ("AES128-SHA256", "AES128-SHA256"),
        ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256"),
        ("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:AES128-SHA256", "AES128-SHA256"),
        ("AES128-SHA256:ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256"),
    ],
)
def test_certification_server_selects_a_mandated_suite(made: Path, offer: str, chosen: str) -> None:
    """S 10.3: whatever else is offered. Which certificate is used follows from the suite."""
    offering = client(made, profile=TlsProfile.CERTIFICATION)
    offering.set_ciphers(offer)
    link = connect(offering, server(made, profile=TlsProfile.CERTIFICATION).context)
    assert cipher(link.client) == chosen
    der = link.client.getpeercert(binary_form=True)
    kind = "ec" if "ECDSA" in chosen else "rsa"
    assert der is not None
    assert fingerprint(leaf(made, "vtn", "localhost", kind)) == _fingerprint(der)


def _fingerprint(der: bytes) -> str:
    from certs.keys import fingerprint_of_der

    return fingerprint_of_der(der)


def test_certification_client_offers_both_suites_first(made: Path) -> None:
    names = [each["name"] for each in client(made, profile=TlsProfile.CERTIFICATION).get_ciphers()]
    assert [name for name in names if not name.startswith("TLS_")][:2] == list(CBC)


def test_modern_has_no_cbc_and_no_static_rsa(made: Path) -> None:
    offering = client(made)
    for each in offering.get_ciphers():
        assert "GCM" in each["name"] or "POLY1305" in each["name"]
    old = client(made, profile=TlsProfile.CERTIFICATION)
    old.set_ciphers(":".join(CBC))
    with pytest.raises(ssl.SSLError):
        connect(old, server(made).context)


def test_nothing_below_tls_12(made: Path) -> None:
    import warnings

    for profile in TlsProfile:
        old = client(made, profile=TlsProfile.CERTIFICATION)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            connect(old, server(made, profile=profile).context)


@pytest.mark.parametrize("profile", TlsProfile)
def test_no_client_certificate(made: Path, profile: TlsProfile) -> None:
    bare = ssl.create_default_context(cafile=made / "trust.pem")
    if profile is TlsProfile.CERTIFICATION:
        bare.set_ciphers(":".join(CBC))
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        connect(bare, server(made, profile=profile).context)


def test_certificate_of_another_authority(made: Path, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other")
    other.init(REAL_NOW)
    other.issue(Role.VEN, "ven-1", REAL_NOW)
    stranger = TlsFiles(
        own=files(tmp_path / "other", "ven", "ven-1", "ec").own, trust=made / "trust.pem", crl=None
    )
    with pytest.raises(ssl.SSLError, match="verify failed"):
        connect(ClientTls(stranger, REAL_NOW).context, server(made).context)


def test_expired_client_certificate(pki: Pki, folder: Path) -> None:
    pki.issue(Role.VEN, "late", REAL_NOW - days(3), validity=days(1))
    with pytest.raises(ssl.SSLError, match="expired"):
        connect(client(folder, "late"), server(folder).context)


def test_server_name_is_checked(made: Path) -> None:
    connect(client(made), server(made).context, host="127.0.0.1")
    with pytest.raises(ssl.SSLError, match="mismatch"):
        connect(client(made), server(made).context, host="example.org")


def test_a_ven_without_server_purpose_is_no_server(made: Path) -> None:
    wrong = ServerTls(files(made, "ven", "ven-1", "ec"), REAL_NOW)
    with pytest.raises(ssl.SSLError, match=r"purpose|unsuitable"):
        connect(client(made), wrong.context, host="ven-1")


# --- renewal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", TlsProfile)
def test_a_new_server_certificate_without_restart(pki: Pki, folder: Path, profile: TlsProfile) -> None:
    running = server(folder, profile=profile)
    context = running.context
    before = connect(client(folder, profile=profile), context).client.getpeercert(binary_form=True)
    pki.rotate(Role.VTN, "localhost", REAL_NOW)
    running.refresh(REAL_NOW)
    assert running.context is context
    after = connect(client(folder, profile=profile), context).client.getpeercert(binary_form=True)
    assert after is not None
    assert before != after
    assert _fingerprint(after) == fingerprint(leaf(folder, "vtn", "localhost", "ec"))


@pytest.mark.parametrize("profile", TlsProfile)
def test_a_connection_without_server_name_is_handed_over_too(folder: Path, profile: TlsProfile) -> None:
    nameless = client(folder, profile=profile)
    nameless.check_hostname = False
    connect(nameless, server(folder, profile=profile).context, host=None)


def test_new_client_certificate(pki: Pki, folder: Path) -> None:
    running = ClientTls(files(folder, "ven", "ven-1", "ec"), REAL_NOW)
    pki.rotate(Role.VEN, "ven-1", REAL_NOW)
    running.refresh(REAL_NOW)
    peer = peer_of(connect(running.context, server(folder).context))
    assert peer is not None
    assert peer.fingerprint == fingerprint(leaf(folder, "ven", "ven-1", "ec"))


def test_files_that_do_not_load_leave_everything_as_it_was(folder: Path) -> None:
    running = server(folder, crl=True)
    for path, data in (
        (folder / "issued/vtn/localhost/ec.key", b"broken"),
        (folder / "trust.pem", b"broken"),
        (folder / "crl.pem", b"broken"),
    ):
        whole = path.read_bytes()
        path.write_bytes(data)
        with pytest.raises(TlsError, match=r"\.pem"):
            running.refresh(REAL_NOW)
        path.write_bytes(whole)
        connect(client(folder), running.context)


def test_key_of_another_certificate(folder: Path) -> None:
    (folder / "issued/vtn/localhost/ec.key").write_bytes((folder / "issued/ven/ven-1/ec.key").read_bytes())
    with pytest.raises(TlsError):
        server(folder)


def test_an_encrypted_key_does_not_wait_at_the_terminal(folder: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    path = folder / "issued/vtn/localhost/ec.key"
    secret = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(TlsError, match="encrypted"):
        server(folder)


# --- revocation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", TlsProfile)
def test_a_revoked_certificate_after_refresh(pki: Pki, folder: Path, profile: TlsProfile) -> None:
    running = server(folder, crl=True, profile=profile)
    link = connect(client(folder, profile=profile), running.context)
    peer = peer_of(link)
    assert peer is not None
    assert still_valid(peer, REAL_NOW, running.revoked)
    pki.revoke([leaf(folder, "ven", "ven-1", "ec")], REAL_NOW)
    running.refresh(REAL_NOW)
    # On the connection that is open already:
    assert not still_valid(peer, REAL_NOW, running.revoked)
    with pytest.raises(CertificateRefused, match="revoked"):
        check_peer(peer, REAL_NOW, running.revoked)
    # And on new ones:
    with pytest.raises(ssl.SSLError, match="revoked"):
        connect(client(folder, profile=profile), running.context)
    for name, kind in (("ven-1", "rsa"), ("ven-2", "ec")):
        connect(client(folder, name, kind, profile=profile), running.context)


def test_a_resumed_session_of_a_revoked_peer_is_refused_by_the_request(pki: Pki, folder: Path) -> None:
    running = server(folder, crl=True, profile=TlsProfile.CERTIFICATION)
    context = client(folder, profile=TlsProfile.CERTIFICATION)
    first = connect(context, running.context)
    pki.revoke([leaf(folder, "ven", "ven-1", "ec")], REAL_NOW)
    running.refresh(REAL_NOW)
    again = connect(context, running.context, session=first.client.session)
    assert again.client.session_reused  # TLS does not look at the certificate again
    peer = peer_of(again)
    assert peer is not None
    assert not still_valid(peer, REAL_NOW, running.revoked)


def test_revocation_is_off_until_a_list_is_there(pki: Pki, folder: Path) -> None:
    whole = (folder / "crl.pem").read_bytes()
    (folder / "crl.pem").unlink()
    running = server(folder, crl=True)
    assert running.revoked.next_update is None
    connect(client(folder), running.context)
    write_public(folder / "crl.pem", whole)
    pki.revoke([leaf(folder, "ven", "ven-1", "ec")], REAL_NOW)
    running.refresh(REAL_NOW)
    with pytest.raises(ssl.SSLError, match="revoked"):
        connect(client(folder), running.context)
    (folder / "crl.pem").unlink()
    with pytest.raises(TlsError, match="disappeared"):
        running.refresh(REAL_NOW)


@pytest.mark.parametrize(
    ("stale_days", "policy", "accepted"),
    [
        (1, CrlStale.ACCEPT, True),
        (6.9, CrlStale.ACCEPT, True),
        (7.1, CrlStale.ACCEPT, False),
        (1, CrlStale.REFUSE, False),
    ],
)
@pytest.mark.parametrize("profile", TlsProfile)
def test_a_stale_list(
    pki: Pki, folder: Path, stale_days: float, policy: CrlStale, accepted: bool, profile: TlsProfile
) -> None:
    """A late list must not take a fleet down, but whoever is on it stays out."""
    pki.revoke(
        [leaf(folder, "ven", "ven-1", "ec")],
        REAL_NOW - days(30),
        crl_validity=days(30 - stale_days),
    )
    alarms: list[str] = []
    running = ServerTls(
        files(folder, "vtn", "localhost", "ec", crl=True),
        REAL_NOW,
        profile=profile,
        crl_stale=policy,
        alarm=alarms.append,
    )
    assert len(alarms) == 1
    assert "stale" in alarms[0]
    for name in ("ven-1", "ven-2"):
        if not accepted:
            with pytest.raises(ssl.SSLError):
                connect(client(folder, name, profile=profile), running.context)
            continue
        peer = peer_of(connect(client(folder, name, profile=profile), running.context))
        assert peer is not None
        assert still_valid(peer, REAL_NOW, running.revoked) == (name == "ven-2")
    pki.revoke([], REAL_NOW)
    running.refresh(REAL_NOW)
    assert len(alarms) == 1
    connect(client(folder, "ven-2", profile=profile), running.context)
    with pytest.raises(ssl.SSLError, match="revoked"):
        connect(client(folder, "ven-1", profile=profile), running.context)


def test_a_list_becomes_stale_while_the_server_runs(folder: Path) -> None:
    alarms: list[str] = []
    running = ServerTls(files(folder, "vtn", "localhost", "ec", crl=True), REAL_NOW, alarm=alarms.append)
    assert alarms == []
    running.refresh(REAL_NOW + days(31))
    running.refresh(REAL_NOW + days(38))
    assert ["accepted" in text for text in alarms] == [True, False]


def test_client_checks_the_server_against_the_list(pki: Pki, folder: Path) -> None:
    pki.revoke([leaf(folder, "vtn", "localhost", "ec")], REAL_NOW)
    checking = ClientTls(files(folder, "ven", "ven-1", "ec", crl=True), REAL_NOW)
    with pytest.raises(ssl.SSLError, match="revoked"):
        connect(checking.context, server(folder).context)


def test_lists(made: Path) -> None:
    issuer = read_certificates(made / "ca/ec/issuing.pem")[0]
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from certs.keys import PrivateKey

    secret = load_pem_private_key((made / "ca/ec/issuing.key").read_bytes(), None)
    assert isinstance(secret, PrivateKey)
    first = new_crl(issuer, secret, REAL_NOW, days(5))
    second = extend_crl(first, issuer, secret, REAL_NOW, days(9), serials=[7, 7, 8])
    third = extend_crl(second, issuer, secret, REAL_NOW, days(9), serials=[8])
    (back,) = read_crls(crl_pem([third]))
    name = issuer.subject.public_bytes()
    found = load_crls([first, back])
    assert sorted(serial for _, serial in found.entries) == [7, 8]
    assert (name, 7) in found
    assert (name, 9) not in found
    assert found.next_update == (REAL_NOW + days(5)).replace(microsecond=0)
    assert found.stale_for(REAL_NOW + days(4)) is None
    assert back.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # a CA's key can sign


def test_peer_without_tls() -> None:
    class Plain:
        def get_extra_info(self, name: str, default: object = None) -> object:
            return default

    assert peer_of(None) is None
    assert peer_of(Plain()) is None


def test_expiry_on_an_open_connection(made: Path) -> None:
    peer = peer_of(connect(client(made), server(made).context))
    assert peer is not None
    assert refusal(peer, REAL_NOW) is None
    assert "expired" in (refusal(peer, REAL_NOW + days(826)) or "")
    assert "valid from" in (refusal(peer, REAL_NOW - days(1)) or "")


def test_a_refresh_without_news_keeps_the_context(pki: Pki, folder: Path) -> None:
    running = ClientTls(files(folder, "ven", "ven-1", "ec", crl=True), REAL_NOW, alarm=lambda text: None)
    contexts = [running.context]
    running.refresh(REAL_NOW)
    assert running.context is contexts[0]
    for change in (
        lambda: pki.rotate(Role.VEN, "ven-1", REAL_NOW),
        lambda: pki.revoke([], REAL_NOW),
        lambda: (folder / "trust.pem").write_bytes((folder / "trust.pem").read_bytes() * 2),
    ):
        change()
        running.refresh(REAL_NOW)
        assert running.context not in contexts
        contexts.append(running.context)
    running.refresh(REAL_NOW + days(31))  # the list is stale now: OpenSSL must not look at it any more
    assert running.context not in contexts
