"""Checks of registrations.

Source: OpenADR 2.0b rules 402 to 404.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import TransportName
from schemas.oadr20b.rules.base import Finding, PushOrPull, Rule, Subject

__all__ = ["RULES"]

_CREATED: Final = "oadrCreatedPartyRegistration"


def _create(s: Subject) -> Iterator[Finding]:
    message, path = s.message, "oadrCreatePartyRegistration"
    if not isinstance(message, m.CreatePartyRegistration):
        return
    http = message.transport_name is TransportName.SIMPLE_HTTP
    if http and message.http_pull_model is None:
        yield f"{path}/oadrHttpPullModel", "is missing"
    if (not http or message.http_pull_model is False) and not message.transport_address:
        yield f"{path}/oadrTransportAddress", "is missing although the VTN has to call"
    if message.registration_id is not None and not message.ven_id:
        yield f"{path}/venID", "goes with the registrationID"
    if message.registration_id == "":
        yield f"{path}/registrationID", "is left out in a new registration"


def _granted(s: Subject) -> Iterator[Finding]:
    message = s.message
    if not isinstance(message, m.CreatedPartyRegistration) or not message.response.code.startswith("2"):
        return
    for profile in message.profiles:
        if not profile.transports:
            yield f"{_CREATED}/oadrProfiles", f"{profile.name} has no transport"
    request = s.exchange.request
    if not isinstance(request, m.CreatePartyRegistration):
        return
    for name, value in (("registrationID", message.registration_id), ("venID", message.ven_id)):
        if not value:
            yield f"{_CREATED}/{name}", "is missing in the answer to a registration"
    pull = request.http_pull_model is not False and request.transport_name is TransportName.SIMPLE_HTTP
    if message.poll_frequency is None and (pull or s.exchange.model is PushOrPull.PULL):
        yield f"{_CREATED}/oadrRequestedOadrPollFreq", "is missing although the VEN polls"
    if request.registration_id is not None and message.registration_id != request.registration_id:
        yield f"{_CREATED}/registrationID", "changed in a re-registration"


def _told(s: Subject) -> Iterator[Finding]:
    message = s.message
    if isinstance(message, m.CreatedPartyRegistration) and isinstance(
        s.exchange.request, m.QueryRegistration
    ):
        # G10: the query does not say who asks, so nobody counts as registered
        for name, value in (("registrationID", message.registration_id), ("venID", message.ven_id)):
            if value is not None:
                yield f"{_CREATED}/{name}", "is given to somebody who is not registered"


RULES: Final = (
    Rule(number="402", check=_create, messages=(m.CreatePartyRegistration,)),
    Rule(number="403", check=_granted, messages=(m.CreatedPartyRegistration,)),
    Rule(number="404", check=_told, messages=(m.CreatedPartyRegistration,)),
)
"""The checks of this file, by number."""
