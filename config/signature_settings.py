"""The ``[signature]`` table of both programs: XML signatures (high security)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from config.program import FilePath, Section, Wait

__all__ = ["Signature"]


class Signature(Section):
    """What is done about XML signatures, and with which key; by default with that of TLS.

    A peer verifies with the certificate of the TLS connection. So another one than that of TLS is for a VTN
    behind a proxy only, which signs with the proxy's.
    """

    policy: Literal["off", "optional", "required"] = "off"
    certificate: FilePath | None = None
    key: FilePath | None = None
    window: Wait = "PT300S"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self
