"""The ``[tls]`` table of both programs: certificates, trust, revocation, and the versions of TLS."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from config.program import FilePath, Section

__all__ = ["FINGERPRINT", "Tls", "VenTls"]

FINGERPRINT = r"^([0-9A-Fa-f]{2}:){9}[0-9A-Fa-f]{2}$"
"""The OpenADR form, section 10.5.1."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


FilePaths = Annotated[tuple[FilePath, ...], BeforeValidator(_listed)]
Fingerprint = Annotated[str, Field(pattern=FINGERPRINT)]
Fingerprints = Annotated[tuple[Fingerprint, ...], BeforeValidator(_listed)]


class Tls(Section):
    """Mutual TLS of a program.

    Either ``folder``, which holds ``rsa.pem`` and ``rsa.key``, ``ec.pem`` and ``ec.key``, or both, as
    ``feederloop certs issue`` writes them, or the files by name. Without ``trust`` the folder's ``trust.pem``
    is taken, or that of the authority the folder lies in, and likewise ``crl.pem``.
    """

    folder: FilePath | None = None
    certificate: FilePaths = ()
    key: FilePaths = ()
    trust: FilePath | None = None
    crl: FilePath | None = None
    crl_stale: Literal["accept", "refuse"] = "accept"
    profile: Literal["modern", "certification"] = "modern"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folder is not None and (self.certificate or self.key):
            raise ValueError("either folder, or certificate and key")
        if len(self.certificate) != len(self.key):
            raise ValueError("every certificate needs its key, in the same order")
        return self


class VenTls(Tls):
    """Mutual TLS of a VEN: it also knows its VTN."""

    vtn_fingerprint: Fingerprints = ()
