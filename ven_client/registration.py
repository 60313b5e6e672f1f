"""Who this VEN is to its VTN: the ids of the registration, and when to register. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from schemas.oadr20b.errors import InvalidId, InvalidValue, NotRegistered
from schemas.oadr20b.model import (
    AnyMessage,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
)
from ven_client.answers import Identity
from ven_client.messages import is_success
from ven_client.settings import VenConfig

__all__ = ["NEXT", "Registration", "State"]


class State(StrEnum):
    """Where a session stands."""

    UNREGISTERED = "unregistered"
    REGISTERING = "registering"
    BOOTSTRAPPING = "bootstrapping"
    OPERATIONAL = "operational"


NEXT: Final[dict[State, frozenset[State]]] = {
    State.UNREGISTERED: frozenset((State.REGISTERING,)),
    State.REGISTERING: frozenset((State.BOOTSTRAPPING, State.UNREGISTERED)),
    State.BOOTSTRAPPING: frozenset((State.OPERATIONAL, State.UNREGISTERED)),
    State.OPERATIONAL: frozenset((State.UNREGISTERED,)),
}
"""The states that may follow each state."""


class Registration:
    """The ids both sides agreed on.

    Args:
        config: Names and preconfigured ids.
    """

    def __init__(self, config: VenConfig) -> None:
        self._config = config
        self._tried_at: datetime | None = None
        self.ven_id = config.ven_id
        self.vtn_id = config.vtn_id
        self.registration_id: str | None = None
        self.at: datetime | None = None
        """When to register next; None is not at all."""
        self.queried = False
        """Whether oadrQueryRegistration has been answered."""

    @property
    def identity(self) -> Identity:
        """Both parties, as far as they are known."""
        return Identity(ven_id=self.ven_id or "", vtn_id=self.vtn_id, registration_id=self.registration_id)

    def require_ven_id(self) -> str:
        """Return the venID.

        Raises:
            NotRegistered: if there is no registration.
        """
        if self.registration_id is None or self.ven_id is None:
            raise NotRegistered("the VEN is not registered")
        return self.ven_id

    def request(self, request_id: str, now: datetime, *, new: bool) -> CreatePartyRegistration:
        """Return a registration: a new one without ids but a preconfigured venID, or one with both (r402)."""
        if new:
            self._tried_at, self.at = now, None
        return CreatePartyRegistration(
            request_id=request_id,
            registration_id=None if new else self.registration_id,
            ven_id=self._config.ven_id if new else self.ven_id,
            report_only=self._config.report_only,
            xml_signature=self._config.xml_signature,
            ven_name=self._config.ven_name,
            transport_address=self._config.push_address,
            http_pull_model=self._config.push_address is None,
        )

    def cancellation(self, request_id: str) -> CancelPartyRegistration:
        """Return the message that ends the registration.

        Raises:
            NotRegistered: if there is none.
        """
        ven_id = self.require_ven_id()
        return CancelPartyRegistration(
            request_id=request_id, registration_id=self.registration_id or "", ven_id=ven_id
        )

    def accept(self, request: CreatePartyRegistration, reply: AnyMessage) -> timedelta:
        """Take the ids of a reply and return the poll period the VTN asks for.

        Raises:
            NotRegistered: if the reply is no success, or is somebody else's.
            InvalidId: if the VTN is not the expected one, or ids are missing or changed (r400, r403).
        """
        if not isinstance(reply, CreatedPartyRegistration) or not is_success(reply.response.code):
            raise NotRegistered("the registration was refused")
        if self._config.vtn_id not in (None, reply.vtn_id):
            raise InvalidId(f"unknown vtnID {reply.vtn_id}")
        if not reply.registration_id or not reply.ven_id:
            raise InvalidId("the registration has no ids")
        if request.registration_id not in (None, reply.registration_id):
            raise InvalidId(f"unknown registrationID {reply.registration_id}")
        self.ven_id, self.vtn_id, self.registration_id = reply.ven_id, reply.vtn_id, reply.registration_id
        if reply.poll_frequency is None:
            return timedelta(0)
        try:
            return reply.poll_frequency.timedelta()
        except InvalidValue:
            return timedelta(0)  # counted in months: no poll period

    def resume(self, ven_id: str, vtn_id: str | None, registration_id: str) -> None:
        """Take the ids of a registration that was made before a restart."""
        self.ven_id, self.vtn_id, self.registration_id = ven_id, vtn_id, registration_id

    def forget(self) -> None:
        """Drop what the VTN gave."""
        self.ven_id, self.vtn_id, self.registration_id = self._config.ven_id, self._config.vtn_id, None

    def retry(self, now: datetime) -> None:
        """Register again, ``registration_retry`` after the last time at the earliest."""
        wait = self._config.registration_retry
        self.at = now if self._tried_at is None else max(now, self._tried_at + wait)
