"""Opts a VEN takes the initiative for: schedules of availability and the opt of one event (EiOpt)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.oadr20b.enums import OptType
from schemas.oadr20b.model import CreateOpt, Period, QualifiedEventId, Target

__all__ = ["OptDraft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptDraft:
    """What an oadrCreateOpt is to say (r206).

    Attributes:
        opt_type: In or out.
        reason: One of OptReason, or an x- name.
        availability: When a schedule holds; a duration of zero is open-ended (r210).
        market_context: Limits a schedule to one programme (r205).
        qualified_event_id: The event, instead of a schedule.
        resources: Limits the opt to these of the VEN's resources; empty is all of them (r202). The target
            has the venID beside them (S 8.5.2), which widens nothing: only alone it means all.

    Raises:
        ValueError: if it is neither a schedule nor the opt of one event, or both.
    """

    opt_type: OptType
    reason: str
    availability: tuple[Period, ...] = ()
    market_context: str | None = None
    qualified_event_id: QualifiedEventId | None = None
    resources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.availability) == (self.qualified_event_id is not None):
            raise ValueError("an opt is either a schedule or the opt of one event (r206)")
        if self.qualified_event_id is not None and self.market_context is not None:
            raise ValueError("the opt of one event has no market context (r206)")
        extras = ("startafter", "notification", "ramp_up", "recovery")
        if any(getattr(period, name) is not None for period in self.availability for name in extras):
            raise ValueError("availability has only a start and a duration (r200)")

    def message(self, opt_id: str, request_id: str, ven_id: str, now: datetime) -> CreateOpt:
        """Return the message."""
        return CreateOpt(
            opt_id=opt_id,
            opt_type=self.opt_type,
            opt_reason=self.reason,
            market_context=self.market_context,
            ven_id=ven_id,
            availability=self.availability or None,
            created_date_time=now,
            request_id=request_id,
            qualified_event_id=self.qualified_event_id,
            target=Target(resource_ids=self.resources, ven_ids=(ven_id,)),
        )
