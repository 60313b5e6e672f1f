"""EiRegisterParty. Pure.

::

    unregistered --(create without registrationID)--> registered     first item of the queue: our metadata
    registered   --(create with its ids)--> registered               nothing but the transport data changes
    registered   --(create without registrationID)--> registered     everything of before is wiped (r406)
    registered   --(cancel, from either side)--> unregistered        everything of the peer is wiped (r407)

Source: OpenADR 2.0b rules 400 to 407.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.oadr20b.enums import ProfileName, TransportName
from schemas.oadr20b.errors import ComplianceError, DeploymentError, InvalidId, NotAllowed, NotRegistered
from schemas.oadr20b.model import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatedReport,
    CreatePartyRegistration,
    Profile,
    QueryRegistration,
    RegisterReport,
    RequestReregistration,
    Response,
)
from vtn_server import outbox
from vtn_server.decision import Context, Decision, Delivery, World, ok
from vtn_server.limits import Limit, LimitReached
from vtn_server.settings import Identity, VtnSettings
from vtn_server.signing import service_infos
from vtn_server.state import PeerIdentity, Provision, Registration, Ven, VenId

__all__ = [
    "NotEnrolled",
    "NotTheirs",
    "authorise",
    "cancel",
    "canceled",
    "create",
    "identified",
    "profiles",
    "query",
    "response",
    "subject",
]


class NotEnrolled(NotRegistered):
    """A VEN for which no certificate is known, or that is not known at all.

    Args:
        ven_id: The VEN; None where nobody announced it.
        ven_name: Its name, as far as there is one.
    """

    def __init__(self, ven_id: VenId | None, ven_name: str | None) -> None:
        super().__init__(
            f"nobody announced a VEN named {ven_name!r}"
            if ven_id is None
            else f"no certificate is enrolled for {ven_id}"
        )
        self.ven_id = ven_id
        self.ven_name = ven_name


class NotTheirs(NotRegistered):
    """A certificate with which nobody may speak for the VEN that is named.

    The peer is not told whose it is not: only that it is refused. Any trusted certificate could else find out
    which venIDs there are.

    Args:
        detail: What an operator may know.
    """

    def __init__(self, detail: str) -> None:
        super().__init__("this certificate may not speak for that VEN")
        self.detail = detail


def profiles() -> tuple[Profile, ...]:
    """Return every profile and transport of this VTN (r403)."""
    return (Profile(name=ProfileName.B, transports=(TransportName.SIMPLE_HTTP,)),)


def identified(peer: PeerIdentity, settings: VtnSettings) -> None:
    """Check that the transport knows who sent a message, whatever the message is.

    Raises:
        NotRegistered: if a certificate is what proves identity here, and there is none.
    """
    if peer.fingerprint is None and settings.identity is not Identity.CLAIMED:
        raise NotRegistered("a client certificate is required")


def authorise(provision: Provision, peer: PeerIdentity, settings: VtnSettings) -> None:
    """Check that the peer may speak for a VEN.

    With ``Identity.CLAIMED`` a peer without certificate is believed to be the VEN that it says it is. In all
    other cases the certificate decides.

    Raises:
        NotTheirs: if the peer's certificate is another VEN's.
        NotRegistered: if it is missing where one is required, or the VEN was removed.
        NotEnrolled: if no certificate is known for the VEN.
    """
    if provision.removed:
        raise NotRegistered(f"{provision.ven_id} was removed")
    identified(peer, settings)
    if peer.fingerprint is None:
        return
    if provision.fingerprint is None:
        if settings.identity is not Identity.CLAIMED:
            raise NotEnrolled(provision.ven_id, provision.ven_name)
    elif provision.fingerprint.upper() != peer.fingerprint.upper():
        raise NotTheirs(f"the certificate is not that of {provision.ven_id}")


def subject(message: CreatePartyRegistration, world: World, ctx: Context) -> Ven:
    """Return the VEN that wants to register: a provisioned one, or a new one under open enrolment.

    Under open enrolment the first registration pins the peer's certificate: it becomes the VEN's, for good.

    Raises:
        InvalidId: if the venID is not one of ours (r400, r402).
        NotEnrolled: if nobody provisioned the name.
        NotTheirs: if the certificate is another VEN's.
        LimitReached: if there are as many VENs as there may be.
    """
    if message.ven_id is not None:
        ven = world.ven(message.ven_id)
        if ven is None:
            raise InvalidId(f"no venID {message.ven_id}")
        return _pinned(ven, world, ctx)
    ven = world.ven_named(message.ven_name) if message.ven_name else None
    if ven is not None:
        return _pinned(ven, world, ctx)
    if not ctx.settings.open_enrolment:
        raise NotEnrolled(None, message.ven_name)
    if world.ven_count() >= ctx.settings.max_vens:
        raise LimitReached(Limit.VENS, "this VTN takes no more VENs")
    ven_id = VenId(ctx.new_id())
    provision = Provision(ven_id=ven_id, ven_name=message.ven_name or ven_id)
    return _pinned(Ven(ven_id=ven_id, provision=provision), world, ctx)


def _pinned(ven: Ven, world: World, ctx: Context) -> Ven:
    """Return the VEN with the peer's certificate, if it has none and may take that one."""
    fingerprint = ctx.peer.fingerprint
    if not ctx.settings.open_enrolment or fingerprint is None or ven.provision.fingerprint is not None:
        return ven
    holder = world.ven_with(fingerprint)
    if holder is not None and holder.ven_id != ven.ven_id:
        raise NotTheirs(f"the certificate is {holder.ven_id}'s")
    return replace(ven, provision=replace(ven.provision, fingerprint=fingerprint))


def query(message: QueryRegistration, world: World, ctx: Context) -> Decision:
    """Tell profiles and transports; no ids, since the message does not say who asks (r404, G10)."""
    del world
    reply = CreatedPartyRegistration(
        response=ok(message.request_id),
        vtn_id=ctx.settings.vtn_id,
        profiles=profiles(),
        poll_frequency=ctx.settings.poll_period,
        service_infos=service_infos(ctx.settings),
    )
    return Decision(reply=reply)


def create(message: CreatePartyRegistration, ven: Ven, world: World, ctx: Context) -> Decision:
    """Register, or register again.

    Raises:
        NotAllowed: for a profile or transport this VTN does not serve.
        ComplianceError: if a re-registration comes without venID.
        InvalidId: if it comes with a registrationID that is not in force.
    """
    del world
    if message.profile_name != ProfileName.B:
        raise NotAllowed("only profile 2.0b is served")
    if message.transport_name != TransportName.SIMPLE_HTTP:
        raise DeploymentError("only simple HTTP is served")
    if message.http_pull_model is False:
        _check_push(message, ctx.settings)
    if message.registration_id is not None:
        return _again(message, ven, ctx)
    registration = _registration(message, ctx.new_id(), ctx)
    fresh = Ven(
        ven_id=ven.ven_id,
        provision=ven.provision,
        version=ven.version,
        registration=registration,
    )
    fresh = outbox.enqueue(fresh, RegisterReport(request_id=ctx.new_id()), ctx.new_id)
    return Decision(
        reply=_created(message, fresh, registration, ctx),
        ven=fresh,
        delivery=Delivery(),
        notices=("registered",),
    )


def _check_push(message: CreatePartyRegistration, settings: VtnSettings) -> None:
    """Check what only a push VEN says (r402).

    Raises:
        DeploymentError: if this VTN does not push, or not there.
        ComplianceError: if there is no transport address.
        InvalidData: if that is no http or https URL.
    """
    if not settings.push:
        raise DeploymentError("only the pull model is served")
    if not message.transport_address:
        raise ComplianceError("a push VEN says its transport address (r402)")
    settings.push_targets.check(message.transport_address)


def _again(message: CreatePartyRegistration, ven: Ven, ctx: Context) -> Decision:
    if message.ven_id is None:
        raise ComplianceError("a re-registration carries venID and registrationID (r402)")
    former = ven.registration
    if former is None or former.registration_id != message.registration_id:
        raise InvalidId(f"registration {message.registration_id} is not in force")
    registration = _registration(message, former.registration_id, ctx)
    after, _ = outbox.finish(ven, (RequestReregistration,), "", "200", ctx)
    after = replace(after, registration=registration)
    if not outbox.is_push(after):
        after = outbox.drop(after, (CreatedReport,))
    return Decision(
        reply=_created(message, after, registration, ctx), ven=after, notices=("registered again",)
    )


def _registration(message: CreatePartyRegistration, registration_id: str, ctx: Context) -> Registration:
    return Registration(
        registration_id=registration_id,
        profile_name=message.profile_name,
        transport_name=message.transport_name,
        transport_address=message.transport_address,
        report_only=message.report_only,
        xml_signature=message.xml_signature,
        http_pull_model=message.http_pull_model is not False,
        at=ctx.now,
        signs=message.xml_signature and ctx.signed,
    )


def _created(
    message: CreatePartyRegistration, ven: Ven, registration: Registration, ctx: Context
) -> CreatedPartyRegistration:
    return CreatedPartyRegistration(
        response=ok(message.request_id),
        registration_id=registration.registration_id,
        ven_id=ven.ven_id,
        vtn_id=ctx.settings.vtn_id,
        profiles=profiles(),
        poll_frequency=ctx.settings.poll_period,
        service_infos=service_infos(ctx.settings),
    )


def _wiped(ven: Ven) -> Ven:
    """Return the VEN as it was provisioned (r407)."""
    return Ven(ven_id=ven.ven_id, provision=ven.provision, version=ven.version)


def cancel(message: CancelPartyRegistration, ven: Ven, world: World, ctx: Context) -> Decision:
    """End a registration at the VEN's wish (r407).

    Raises:
        InvalidId: if the registrationID is not in force.
        NotRegistered: if there is no registration, unless it was this one and the VEN only asks again.
    """
    del world, ctx
    reply = CanceledPartyRegistration(
        response=ok(message.request_id), registration_id=message.registration_id, ven_id=ven.ven_id
    )
    if ven.registration is None:
        if ven.ended != message.registration_id:
            raise NotRegistered(f"{ven.ven_id} is not registered")
        return Decision(reply=reply)
    if ven.registration.registration_id != message.registration_id:
        raise InvalidId(f"registration {message.registration_id} is not in force")
    after = replace(_wiped(ven), ended=message.registration_id)
    return Decision(reply=reply, ven=after, delivery=Delivery(), notices=("registration cancelled",))


def canceled(message: CanceledPartyRegistration, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take the answer to our own cancellation: now everything of the VEN goes."""
    del world
    code, request_id = message.response.code, message.response.request_id
    after, item = outbox.finish(ven, (CancelPartyRegistration,), request_id, code, ctx)
    reply = Response(response=ok(request_id), ven_id=ven.ven_id)
    if item is None:
        return Decision(reply=reply)
    if not code.startswith("2"):
        return Decision(reply=reply, ven=after, notices=(f"cancellation refused with {code}",))
    return Decision(
        reply=reply, ven=_wiped(ven), delivery=Delivery(), notices=("registration cancelled by us",)
    )


def response(message: Response, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take an oadrResponse: the answer to a re-registration request, or to a polled message found wrong."""
    del world
    code, request_id = message.response.code, message.response.request_id
    kinds = (RequestReregistration,) if code.startswith("2") else outbox.ANY
    after, item = outbox.finish(ven, kinds, request_id, code, ctx)
    if item is None and code.startswith("2"):
        after, item = outbox.finish(ven, kinds, "", code, ctx)  # the request has no requestID to echo
    reply = Response(response=ok(request_id), ven_id=ven.ven_id)
    refused = () if code.startswith("2") else (f"answered with {code}",)
    return Decision(reply=reply, ven=None if item is None else after, notices=refused)
