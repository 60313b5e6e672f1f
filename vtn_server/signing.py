"""Which VENs sign, and to which we sign. Pure.

================ ================================ ==================================================
``signatures``   a VEN that signs                 any other VEN
================ ================================ ==================================================
off              signatures are not looked at, and none are written
optional         everything it sends is signed,   what it signs is verified and answered signed, the
                 or refused; it gets signed       rest is answered unsigned; it gets unsigned pushes
                 replies and signed pushes
required         everything is signed, whoever sends it, and so is everything that is sent
================ ================================ ==================================================

*A VEN signs* if it registered with oadrXmlSignature true in a message that it had signed. It is held to that
until its registration ends: nobody can talk the VTN out of it with an unsigned message, not even with a new
registration. The same statement in an unsigned message is taken for what the schema calls it, a capability,
and binds nobody; otherwise a VEN that can sign but does not would have locked itself out.

*A reply is signed as its request was*, also for a VEN that registered with false but signs: openleadr's does,
and it wants signed replies.

Over plain HTTP there is no certificate to verify with, so ``optional`` is ``off`` there, and ``required``
refuses everybody (:mod:`certs.envelope`).

Source: S 10.6; r514; section 2.4.
"""

from __future__ import annotations

from typing import Final

from certs.envelope import SignaturePolicy
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import NotSigned
from schemas.oadr20b.model import Info, ServiceInfo
from vtn_server.settings import VtnSettings
from vtn_server.state import Ven

__all__ = ["check_signed", "service_infos", "signs_to"]

_KEY: Final = "oadrXmlSignature"


def check_signed(ven: Ven, *, signed: bool, settings: VtnSettings) -> None:
    """Check that a VEN that signs has signed this message.

    Raises:
        NotSigned: if it has not.
    """
    if not signed and _is_bound(ven, settings):
        raise NotSigned(f"{ven.ven_id} registered with XML signatures, and this message has none")


def signs_to(ven: Ven, settings: VtnSettings) -> bool:
    """Return whether what is pushed to a VEN is signed."""
    return settings.signatures is SignaturePolicy.REQUIRED or _is_bound(ven, settings)


def service_infos(settings: VtnSettings) -> tuple[ServiceInfo, ...] | None:
    """Return what a registration says about signatures, for whoever reads it; None where they are off.

    The profile has no field of the VTN's for that, so it stands in oadrServiceSpecificInfo.
    """
    if settings.signatures is SignaturePolicy.OFF:
        return None
    info = Info(key=_KEY, value=settings.signatures.value)
    return (ServiceInfo(name=ServiceName.EI_REGISTER_PARTY, infos=(info,)),)


def _is_bound(ven: Ven, settings: VtnSettings) -> bool:
    registration = ven.registration
    return settings.signatures is not SignaturePolicy.OFF and registration is not None and registration.signs
