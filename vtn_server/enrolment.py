"""Which certificate is whose: one VEN, one certificate. Pure.

A certificate comes to a VEN in one of three ways: an operator says so, the file of VENs says so, or the VEN
registers with it under open enrolment (:func:`vtn_server.registration.subject`). It is then nobody else's,
even after its VEN was removed, unless an operator gives it to another VEN then.

Source: OpenADR 2.0b section 10.5.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from schemas.oadr20b.errors import NotAllowed
from vtn_server.decision import World
from vtn_server.state import Provision, Ven, VenId

__all__ = ["bound", "check_distinct", "with_fingerprint"]


def check_distinct(provisions: Iterable[Provision]) -> None:
    """Check that no two of some VENs have one certificate.

    Raises:
        NotAllowed: if they have.
    """
    counts = Counter(each.fingerprint.upper() for each in provisions if each.fingerprint is not None)
    twice = sorted(fingerprint for fingerprint, count in counts.items() if count > 1)
    if twice:
        raise NotAllowed(f"the certificate {twice[0]} comes twice")


def bound(wanted: Provision, former: Provision, world: World, *, replace_identity: bool) -> Provision:
    """Return a provision as it will be: without a certificate of its own it keeps the former one.

    A VEN that is known gets another name or another certificate only with ``replace_identity``: whoever takes
    a venID that is taken would else lock its VEN out.

    Raises:
        NotAllowed: if the certificate is another VEN's, or the VEN is known otherwise.
    """
    if not (replace_identity or former.removed):
        _check_same(wanted, former)
    fingerprint = wanted.fingerprint if wanted.fingerprint is not None else former.fingerprint
    if fingerprint is None:
        return wanted
    _check_free(fingerprint, wanted.ven_id, world)
    return replace(wanted, fingerprint=fingerprint.upper())


def with_fingerprint(ven: Ven, fingerprint: str | None, world: World) -> Ven:
    """Return a VEN with another certificate, or without one.

    Raises:
        NotAllowed: if the certificate is another VEN's.
    """
    if fingerprint is not None:
        _check_free(fingerprint, ven.ven_id, world)
        fingerprint = fingerprint.upper()
    return replace(ven, provision=replace(ven.provision, fingerprint=fingerprint))


def _check_same(wanted: Provision, former: Provision) -> None:
    if wanted.ven_name != former.ven_name:
        raise NotAllowed(f"{former.ven_id} is {former.ven_name!r}; another name has to replace it")
    if None in (wanted.fingerprint, former.fingerprint):
        return  # it keeps the one it has, or gets its first
    if str(wanted.fingerprint).upper() != str(former.fingerprint).upper():
        raise NotAllowed(
            f"{former.ven_id} has the certificate {former.fingerprint}; another one has to replace it"
        )


def _check_free(fingerprint: str, ven_id: VenId, world: World) -> None:
    holder = world.ven_with(fingerprint)
    if holder is not None and holder.ven_id != ven_id and not holder.provision.removed:
        raise NotAllowed(f"the certificate {fingerprint.upper()} is {holder.ven_id}'s")
