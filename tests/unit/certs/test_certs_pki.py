"""The authority on disk: what it issues, where, with which rights, and what it refuses."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from certs.certificates import alternative_names
from certs.chain import Purpose, refusals
from certs.crl import load_crls, read_crls
from certs.files import PkiError, read_certificates, safe_name
from certs.keys import fingerprint, fingerprint_of_der
from certs.pki import KeyKind, Pki, Role
from tests.unit.certs.authority import REAL_NOW, days, leaf, own


def test_layout_and_rights(made: Path) -> None:
    keys = sorted(str(path.relative_to(made)) for path in made.rglob("*.key"))
    assert "ca/rsa/root.key" in keys
    assert "issued/ven/ven-1/ec.key" in keys
    assert len(keys) == 4 + 6
    for path in made.rglob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not [path for path in made.rglob("*") if path.name.startswith(".")]
    assert len(read_certificates(made / "trust.pem")) == 2
    assert len(read_crls((made / "crl.pem").read_bytes())) == 2


def test_fingerprint_by_hand() -> None:
    # SHA-256 of the empty string ends in ...27ae41e4649b934ca495991b7852b855.
    assert fingerprint_of_der(b"") == "93:4C:A4:95:99:1B:78:52:B8:55"


def test_keys_and_purposes(made: Path) -> None:
    for role, name, serves in (("vtn", "localhost", True), ("ven", "ven-1", False)):
        for kind in ("rsa", "ec"):
            found = leaf(made, role, name, kind)
            key = found.public_key()
            if kind == "rsa":
                assert isinstance(key, rsa.RSAPublicKey)
                assert key.key_size >= 2048
            else:
                assert isinstance(key, ec.EllipticCurvePublicKey)
                assert key.curve.name == "secp256r1"
            usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            assert ExtendedKeyUsageOID.CLIENT_AUTH in usage
            assert (ExtendedKeyUsageOID.SERVER_AUTH in usage) == serves
            bits = found.extensions.get_extension_for_class(x509.KeyUsage).value
            assert bits.digital_signature
            assert bits.key_encipherment == (kind == "rsa")
            assert not bits.key_cert_sign
            assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_an_independent_verifier_accepts_the_chains(made: Path, kind: str) -> None:
    policy = PolicyBuilder().store(Store(list(read_certificates(made / "trust.pem")))).time(REAL_NOW)
    server = read_certificates(own(made, "vtn", "localhost", kind).certificate)
    policy.build_server_verifier(x509.DNSName("localhost")).verify(server[0], list(server[1:]))
    client = read_certificates(own(made, "ven", "ven-2", kind).certificate)
    verified = policy.build_client_verifier().verify(client[0], list(client[1:]))
    assert verified.subjects == [x509.DNSName("ven-2")]


def test_init_twice(pki: Pki) -> None:
    with pytest.raises(PkiError, match="already holds"):
        pki.init(REAL_NOW)


def test_issue_twice(pki: Pki) -> None:
    with pytest.raises(PkiError, match="rotate"):
        pki.issue(Role.VEN, "ven-1", REAL_NOW, kinds=[KeyKind.EC])


def test_issue_one_kind_and_hosts_from_a_generator(pki: Pki) -> None:
    (only,) = pki.issue(Role.OPERATOR, "alice@dso", REAL_NOW, kinds=[KeyKind.EC])
    assert only.key_path is not None
    assert only.fingerprint == fingerprint(only.certificate)
    both = pki.issue(Role.VEN, "push", REAL_NOW, hosts=(each for each in ["10.0.0.7", "home.example"]))
    for each in both:
        assert (
            refusals(
                each.certificate,
                read_certificates(each.path)[1:],
                read_certificates(pki.trust_path),
                REAL_NOW,
                purpose=Purpose.SERVER,
                host="10.0.0.7",
            )
            == ()
        )


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a..b", ".x", "a b", "x" * 65, "é", "-x", "a\n"])
def test_unfit_names(name: str) -> None:
    with pytest.raises(PkiError, match="must be"):
        safe_name(name)


def test_host_names_in_ascii(pki: Pki) -> None:
    with pytest.raises(PkiError, match="ASCII"):
        pki.issue(Role.VTN, "v2", REAL_NOW, hosts=["bücher.example"])


@pytest.mark.parametrize(
    "host",
    [
        *("", "not a host!", "a..b", ".a", "a.", "-a.example", "a-.example", "my_host", "me@dso", "a\n", "*"),
        *("10.0.0.256", "10.0.0", "10.0.0.0/24", "[::1]", "dso.example:8443", "https://dso.example", "a.*.b"),
        *("x" * 64, ".".join(["x" * 60] * 5)),
    ],
)
def test_what_is_no_host_is_refused_before_anything_is_written(pki: Pki, folder: Path, host: str) -> None:
    with pytest.raises(PkiError, match="neither a host name nor an IP address"):
        pki.issue(Role.VTN, "v2", REAL_NOW, kinds=[KeyKind.EC], hosts=["dso.example", host])
    assert not (folder / "issued/vtn/v2").exists()


def test_hosts_are_used_as_they_are() -> None:
    hosts = ["DSO-1.example", "localhost", "*.dso.example", "1.dso.x2", "::1", "10.0.0.7", "x" * 63]
    names = alternative_names("ven_7@home", hosts)
    assert names.get_values_for_type(x509.DNSName) == [
        *("ven-7.home", "DSO-1.example", "localhost", "*.dso.example", "1.dso.x2", "x" * 63)
    ]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["::1", "10.0.0.7"]


def test_short_rsa_keys(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="2048"):
        Pki(tmp_path, rsa_bits=1024)


def test_no_certificate_outlives_its_issuer(pki: Pki, folder: Path) -> None:
    (only,) = pki.issue(Role.VEN, "long", REAL_NOW, kinds=[KeyKind.EC], validity=days(99_999))
    assert only.not_after == read_certificates(folder / "ca/ec/issuing.pem")[0].not_valid_after_utc
    with pytest.raises(PkiError, match="expired"):
        pki.issue(Role.VEN, "never", REAL_NOW + days(4000), kinds=[KeyKind.EC])


def test_daily_work_without_root_keys(pki: Pki, folder: Path) -> None:
    for path in folder.glob("ca/*/root.key"):
        path.unlink()
    pki.issue(Role.VEN, "ven-3", REAL_NOW)
    pki.rotate(Role.VEN, "ven-3", REAL_NOW, revoke_old=True)
    for path in folder.glob("ca/*/issuing.key"):
        path.unlink()
    with pytest.raises(PkiError, match="issuing CA is missing"):
        pki.issue(Role.VEN, "ven-4", REAL_NOW)


def test_rotate_keeps_names_and_purposes_and_changes_keys(pki: Pki, folder: Path) -> None:
    before = {kind: leaf(folder, "vtn", "localhost", kind) for kind in ("rsa", "ec")}
    fresh = pki.rotate(Role.VTN, "localhost", REAL_NOW)
    assert len(fresh) == 2
    for each in fresh:
        old = before[each.kind.value]
        assert each.certificate.public_key() != old.public_key()
        assert leaf(folder, "vtn", "localhost", each.kind.value) == each.certificate
        for extension in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage, x509.KeyUsage):
            assert (
                each.certificate.extensions.get_extension_for_class(extension).value
                == old.extensions.get_extension_for_class(extension).value
            )
    mine = [each for each in pki.list() if each.name == "localhost"]
    assert [(each.key_path is None, each.revoked) for each in mine] == [
        (False, False),
        (False, False),
        (True, False),
        (True, False),
    ]


def test_rotate_and_revoke(pki: Pki, folder: Path) -> None:
    old = leaf(folder, "ven", "ven-1", "ec")
    pki.rotate(Role.VEN, "ven-1", REAL_NOW, revoke_old=True)
    revoked = load_crls(read_crls(pki.crl_path.read_bytes()))
    assert (old.issuer.public_bytes(), old.serial_number) in revoked
    assert [each.revoked for each in pki.list() if each.name == "ven-1"] == [False, False, True, True]


def test_rotate_nobody(pki: Pki) -> None:
    with pytest.raises(PkiError, match="has no certificate"):
        pki.rotate(Role.VEN, "nobody", REAL_NOW)


def test_revoke_certificates_of_others(pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other")
    other.init(REAL_NOW, name="other")
    (foreign,) = other.issue(Role.VEN, "x", REAL_NOW, kinds=[KeyKind.EC])
    with pytest.raises(PkiError, match="was not issued"):
        pki.revoke([foreign.certificate], REAL_NOW)


# --- check -------------------------------------------------------------------------------------------------


def why(folder: Path, role: str, name: str, kind: str, **options: object) -> tuple[str, ...]:
    chain = read_certificates(own(folder, role, name, kind).certificate)
    now = options.pop("now", REAL_NOW)
    return refusals(chain[0], chain[1:], read_certificates(folder / "trust.pem"), now, **options)  # type: ignore[arg-type]


def test_accepted(made: Path) -> None:
    revoked = load_crls(read_crls((made / "crl.pem").read_bytes()))
    for kind in ("rsa", "ec"):
        assert why(made, "ven", "ven-1", kind, revoked=revoked) == ()
        assert why(made, "vtn", "localhost", kind, purpose=Purpose.SERVER, host="LOCALHOST.") == ()


def test_every_reason_at_once(pki: Pki, folder: Path) -> None:
    pki.revoke([leaf(folder, "ven", "ven-1", "ec")], REAL_NOW)
    revoked = load_crls(read_crls(pki.crl_path.read_bytes()))
    found = why(
        folder,
        "ven",
        "ven-1",
        "ec",
        now=REAL_NOW + days(900),
        purpose=Purpose.SERVER,
        host="other.example",
        revoked=revoked,
    )
    for part in ("expired", "not for a TLS server", "does not name the host", "is revoked", "stale"):
        assert any(part in reason for reason in found), part


def test_reasons_of_the_chain(made: Path) -> None:
    found = leaf(made, "ven", "ven-1", "ec")
    roots = read_certificates(made / "trust.pem")
    assert any("is missing" in reason for reason in refusals(found, (), roots, REAL_NOW))
    assert any("valid from" in reason for reason in why(made, "ven", "ven-1", "ec", now=REAL_NOW - days(1)))
    root = roots[0]
    assert any("self-signed" in reason for reason in refusals(root, (), (), REAL_NOW))
    assert any("is a CA's" in reason for reason in refusals(root, (), roots, REAL_NOW))


def test_a_party_is_no_issuer(made: Path) -> None:
    """A VEN's key must not make certificates, even if its chain is sent along."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain = read_certificates(own(made, "ven", "ven-1", "ec").certificate)
    secret = load_pem_private_key(own(made, "ven", "ven-1", "ec").key.read_bytes(), None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(chain[0].subject)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(REAL_NOW - days(1))
        .not_valid_after(REAL_NOW + days(1))
        .sign(secret, hashes.SHA256())
    )
    found = refusals(forged, chain, read_certificates(made / "trust.pem"), REAL_NOW)
    assert any("is not allowed to issue" in reason for reason in found)


def test_weak_key_and_no_list(made: Path) -> None:
    from tests.unit.certs.parties import NOW, certificate

    weak = certificate("rsa-1024")
    revoked = load_crls(read_crls((made / "crl.pem").read_bytes()))
    found = refusals(weak, (), (weak,), NOW, revoked=revoked)
    assert any("weak key" in reason for reason in found)
    assert any("no revocation list" in reason for reason in found)


@pytest.mark.parametrize(
    ("host", "named"), [("a.example.org", True), ("example.org", False), ("a.b.example.org", False)]
)
def test_wildcards(host: str, named: bool) -> None:
    from cryptography.hazmat.primitives import hashes

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    found = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(REAL_NOW - days(1))
        .not_valid_after(REAL_NOW + days(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.example.org")]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    reasons = refusals(found, (), (found,), REAL_NOW, purpose=Purpose.SERVER, host=host)
    assert any("host" in reason for reason in reasons) != named
