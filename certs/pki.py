"""A small certificate authority: two hierarchies, RSA and P-256, for VTNs, VENs and operators.

The directory::

    PKI/
      ca/rsa/   root.pem root.key   issuing.pem issuing.key   crl.pem
      ca/ec/    the same with P-256 keys
      trust.pem                     both roots: what every party trusts
      crl.pem                       the revocation lists of both issuing CAs
      issued/ROLE/NAME/
        rsa.pem rsa.key             the certificate followed by its issuing CA; its private key
        ec.pem  ec.key
        rsa.SERIAL.pem              certificates that were rotated out, so that they can still be revoked

Rules: ROLE is ``vtn``, ``ven`` or ``operator``. Keys (``*.key``, PKCS#8) have mode 0600 in directories with
mode 0700, and are never printed or logged. The root keys are needed for :meth:`Pki.init` only: take them
away afterwards (``ca/*/root.key``), everything else goes on working. Server purpose is given to VTNs and to
VENs that take pushes; client purpose to all (a VTN is a client when it pushes). Every certificate ends no
later than its issuer. The revocation list is the only record of what is revoked. Time is an argument.

Source: section 2.3; S 10.1, 10.5; r68.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.certificates import alternative_names, ca_certificate, common_name, leaf_certificate
from certs.crl import crl_pem, extend_crl, load_crls, new_crl, read_crls
from certs.files import PkiError, key_pem, pem, read_certificates, safe_name, write_private, write_public
from certs.keys import MIN_RSA_BITS, PrivateKey, fingerprint

__all__ = ["Issued", "KeyKind", "Pki", "PkiError", "Role"]

_ROOT_YEARS: Final = 20
_ISSUING_YEARS: Final = 10
_YEAR: Final = timedelta(days=365)
DEFAULT_VALIDITY: Final = timedelta(days=825)
DEFAULT_CRL_VALIDITY: Final = timedelta(days=30)


class Role(StrEnum):
    """What a certificate is for."""

    VTN = "vtn"
    VEN = "ven"
    OPERATOR = "operator"


class KeyKind(StrEnum):
    """The two kinds of keys the profile asks for."""

    RSA = "rsa"
    EC = "ec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate that this authority has issued.

    Attributes:
        role: What it is for.
        name: Whose it is; the venID or the host name, also the common name.
        kind: Kind of its key.
        path: File with the certificate and its issuing CA.
        key_path: File with the private key; None for one that was rotated out.
        certificate: The certificate.
        revoked: Whether it is on the revocation list.
    """

    role: Role
    name: str
    kind: KeyKind
    path: Path
    key_path: Path | None
    certificate: x509.Certificate
    revoked: bool

    @property
    def fingerprint(self) -> str:
        """The OpenADR fingerprint."""
        return fingerprint(self.certificate)

    @property
    def not_after(self) -> datetime:
        """End of validity, UTC."""
        return self.certificate.not_valid_after_utc


class Pki:
    """The authority in a directory.

    Args:
        folder: Its directory; created by :meth:`init`.
        rsa_bits: Size of new RSA keys.

    Raises:
        PkiError: if RSA keys would be shorter than 2048 bits.
    """

    def __init__(self, folder: Path, *, rsa_bits: int = MIN_RSA_BITS) -> None:
        if rsa_bits < MIN_RSA_BITS:
            raise PkiError(f"RSA keys have {MIN_RSA_BITS} bits or more (r68)")
        self._folder = folder
        self._rsa_bits = rsa_bits

    @property
    def trust_path(self) -> Path:
        """The file with both roots."""
        return self._folder / "trust.pem"

    @property
    def crl_path(self) -> Path:
        """The file with the revocation lists."""
        return self._folder / "crl.pem"

    def init(
        self, now: datetime, *, name: str = "feederloop", crl_validity: timedelta = DEFAULT_CRL_VALIDITY
    ) -> None:
        """Make both roots and both issuing CAs, with empty revocation lists.

        Raises:
            PkiError: if the directory already holds an authority.
        """
        if (self._folder / "ca").exists():
            raise PkiError(f"{self._folder} already holds a certificate authority")
        roots = []
        for kind in KeyKind:
            root_key, issuing_key = self._new_key(kind), self._new_key(kind)
            root_name = common_name(f"{name} root {kind.value.upper()}")
            root = ca_certificate(
                root_name, root_key, None, root_key, now, _ROOT_YEARS * _YEAR, path_length=1
            )
            issuing = ca_certificate(
                common_name(f"{name} issuing {kind.value.upper()}"),
                issuing_key,
                root,
                root_key,
                now,
                _ISSUING_YEARS * _YEAR,
                path_length=0,
            )
            folder = self._ca(kind)
            write_private(folder / "root.key", key_pem(root_key))
            write_private(folder / "issuing.key", key_pem(issuing_key))
            write_public(folder / "root.pem", pem(root))
            write_public(folder / "issuing.pem", pem(issuing))
            write_public(folder / "crl.pem", crl_pem([new_crl(issuing, issuing_key, now, crl_validity)]))
            roots.append(root)
        write_public(self.trust_path, pem(*roots))
        self._join_crls()

    def issue(
        self,
        role: Role,
        name: str,
        now: datetime,
        *,
        kinds: Iterable[KeyKind] = tuple(KeyKind),
        hosts: Iterable[str] = (),
        validity: timedelta = DEFAULT_VALIDITY,
        server: bool | None = None,
    ) -> tuple[Issued, ...]:
        """Issue certificates with new keys, one per kind.

        Args:
            role: What they are for.
            name: The venID, host name or person; becomes the common name.
            now: The present instant, aware.
            kinds: Kinds of keys.
            hosts: Host names and IP addresses, beside the name, for which a server may use it.
            validity: How long they are valid.
            server: Whether the holder may act as TLS server; by default a VTN, and a VEN with hosts.

        Raises:
            PkiError: if the name is unfit or was issued before (use :meth:`rotate`).
        """
        folder = self._folder / "issued" / role.value / safe_name(name)
        issued = []
        for kind in kinds:
            if (folder / f"{kind.value}.pem").exists():
                raise PkiError(
                    f"{role.value} {name} already has a certificate of kind {kind.value}; rotate it"
                )
        for kind in kinds:
            hosts = tuple(hosts)
            serves = (role is Role.VTN or (role is Role.VEN and bool(hosts))) if server is None else server
            names = alternative_names(name, hosts)
            issued.append(self._write(folder, role, name, kind, names, now, validity, serves=serves))
        return tuple(issued)

    def rotate(
        self,
        role: Role,
        name: str,
        now: datetime,
        *,
        validity: timedelta = DEFAULT_VALIDITY,
        revoke_old: bool = False,
    ) -> tuple[Issued, ...]:
        """Replace the certificates of a party by ones with new keys and the same names and purposes.

        The old certificates stay valid, so that peers can be told the new fingerprint first, unless they are
        to be revoked.

        Raises:
            PkiError: if there is nothing to rotate.
        """
        current = [each for each in self.list() if (each.role, each.name) == (role, name) and each.key_path]
        if not current:
            raise PkiError(f"{role.value} {name} has no certificate")
        fresh = []
        for old in current:
            extensions = old.certificate.extensions
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            serves = ExtendedKeyUsageOID.SERVER_AUTH in usage
            serial = f"{old.certificate.serial_number:x}"
            write_public(old.path.with_name(f"{old.kind.value}.{serial}.pem"), old.path.read_bytes())
            fresh.append(
                self._write(old.path.parent, role, name, old.kind, names, now, validity, serves=serves)
            )
        if revoke_old:
            self.revoke((old.certificate for old in current), now)
        return tuple(fresh)

    def revoke(
        self,
        certificates: Iterable[x509.Certificate],
        now: datetime,
        *,
        crl_validity: timedelta = DEFAULT_CRL_VALIDITY,
    ) -> None:
        """Put certificates on the revocation lists; without any, only renew the lists.

        Raises:
            PkiError: if one of them was not issued here.
        """
        certificates = tuple(certificates)
        authorities = {kind: self._issuing(kind) for kind in KeyKind}
        known = {each.subject for each, _ in authorities.values()}
        for each in certificates:
            if each.issuer not in known:
                raise PkiError(f"{each.subject.rfc4514_string()} was not issued by this authority")
        for kind, (issuing, key) in authorities.items():
            path = self._ca(kind) / "crl.pem"
            (old,) = read_crls(path.read_bytes())
            serials = [each.serial_number for each in certificates if each.issuer == issuing.subject]
            new = extend_crl(old, issuing, key, now, crl_validity, serials=serials)
            write_public(path, crl_pem([new]))
        self._join_crls()

    def list(self) -> tuple[Issued, ...]:
        """Return everything that was issued, by role and name; those rotated out last."""
        revoked = (
            load_crls(read_crls(self.crl_path.read_bytes())) if self.crl_path.exists() else load_crls([])
        )
        return tuple(self._read(path, revoked.entries) for path in self._paths())

    # --- inside --------------------------------------------------------------------------------------------

    def _paths(self) -> Iterator[Path]:
        for role in Role:
            found = (self._folder / "issued" / role.value).glob("*/*.pem")
            yield from sorted(found, key=lambda path: (path.parent.name, path.name.count("."), path.name))

    def _read(self, path: Path, revoked: frozenset[tuple[bytes, int]]) -> Issued:
        certificate = read_certificates(path)[0]
        kind = KeyKind(path.name.split(".")[0])
        key_path = path.with_suffix(".key") if path.name == f"{kind.value}.pem" else None
        return Issued(
            role=Role(path.parent.parent.name),
            name=path.parent.name,
            kind=kind,
            path=path,
            key_path=key_path,
            certificate=certificate,
            revoked=(certificate.issuer.public_bytes(), certificate.serial_number) in revoked,
        )

    def _write(
        self,
        folder: Path,
        role: Role,
        name: str,
        kind: KeyKind,
        names: x509.SubjectAlternativeName,
        now: datetime,
        validity: timedelta,
        *,
        serves: bool,
    ) -> Issued:
        issuing, issuing_key = self._issuing(kind)
        key = self._new_key(kind)
        certificate = leaf_certificate(
            name, role.value, key, names, issuing, issuing_key, now, validity, serves=serves
        )
        path, key_path = folder / f"{kind.value}.pem", folder / f"{kind.value}.key"
        write_private(key_path, key_pem(key))
        write_public(path, pem(certificate, issuing))
        return Issued(
            role=role,
            name=name,
            kind=kind,
            path=path,
            key_path=key_path,
            certificate=certificate,
            revoked=False,
        )

    def _ca(self, kind: KeyKind) -> Path:
        return self._folder / "ca" / kind.value

    def _issuing(self, kind: KeyKind) -> tuple[x509.Certificate, PrivateKey]:
        (certificate,) = read_certificates(self._ca(kind) / "issuing.pem")
        try:
            data = (self._ca(kind) / "issuing.key").read_bytes()
        except OSError as err:
            raise PkiError(f"the key of the issuing CA is missing: {err}") from err
        key = serialization.load_pem_private_key(data, password=None)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return certificate, key

    def _join_crls(self) -> None:
        write_public(self.crl_path, b"".join((self._ca(kind) / "crl.pem").read_bytes() for kind in KeyKind))

    def _new_key(self, kind: KeyKind) -> PrivateKey:
        if kind is KeyKind.EC:
            return ec.generate_private_key(ec.SECP256R1())
        return rsa.generate_private_key(public_exponent=65537, key_size=self._rsa_bits)
