"""Ids of somebody else: alice, with her own certificate and her own venID, names what is bob's.

Once with her venID, once without any, where the schema lets it be left out, and once with bob's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.tls_parties import wall
from tests.security.attack import Attack, verdict
from tests.security.grounds import Ground, schedule
from tests.unit.vtn.rig import ALICE, BOB, metadata, said, update
from vtn_server.dispatch import row_of

__all__ = ["ATTACKS"]

ALICES = str(ALICE)
BOBS = str(BOB)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Confusion:
    """A message that names something of bob's.

    Attributes:
        make: Makes it, from the venID it carries and bob's ids.
        optional: Whether the venID may be left out.
        code: The answer to alice's own venID.
    """

    name: str
    make: Callable[[str | None, dict[str, str]], m.AnyMessage]
    optional: bool = True
    code: str = "452"


def _answered(event_id: str) -> tuple[m.EventResponse, ...]:
    return (
        m.EventResponse(
            code="200",
            request_id="x",
            qualified_event_id=m.QualifiedEventId(event_id=event_id, modification_number=0),
            opt_type=OptType.OPT_OUT,
        ),
    )


def _asked(report_request_id: str) -> tuple[m.ReportRequest, ...]:
    specifier = m.ReportSpecifier(
        report_specifier_id="meter-energy",
        granularity=Duration(minutes=10),
        report_back_duration=Duration(minutes=10),
        payloads=(m.SpecifierPayload(r_id="energy", reading_type="x-notApplicable"),),
    )
    return (m.ReportRequest(report_request_id=report_request_id, specifier=specifier),)


def _event_opt(ven_id: str, event_id: str) -> m.CreateOpt:
    return m.CreateOpt(
        opt_id="mine",
        opt_type=OptType.OPT_OUT,
        opt_reason="notParticipating",
        ven_id=ven_id,
        created_date_time=wall().replace(microsecond=0),
        request_id="o",
        qualified_event_id=m.QualifiedEventId(event_id=event_id, modification_number=0),
    )


_CONFUSIONS = (
    _Confusion(
        name="cancels bob's registrationID",
        make=lambda ven_id, bobs: m.CancelPartyRegistration(
            request_id="c", registration_id=bobs["registration"], ven_id=ven_id
        ),
    ),
    _Confusion(
        name="registers again with bob's registrationID",
        make=lambda ven_id, bobs: m.CreatePartyRegistration(
            request_id="r",
            ven_name=None,
            ven_id=ven_id,
            registration_id=bobs["registration"],
            http_pull_model=True,
        ),
        code="452",
    ),
    _Confusion(
        name="data for bob's reportRequestID",
        make=lambda ven_id, bobs: _with_ven(update(ALICES, bobs["report"], [1.0]), ven_id),
    ),
    _Confusion(
        name="cancels bob's reportRequestID",
        make=lambda ven_id, bobs: m.CancelReport(
            request_id="c", report_request_ids=(bobs["report"],), report_to_follow=False, ven_id=ven_id
        ),
    ),
    _Confusion(
        name="asks for a report of bob's",
        make=lambda ven_id, bobs: m.CreateReport(
            request_id="c", requests=_asked(bobs["report"]), ven_id=ven_id
        ),
    ),
    _Confusion(
        name="cancels bob's optID",
        make=lambda ven_id, bobs: m.CancelOpt(request_id="c", opt_id=bobs["opt"], ven_id=ven_id or ""),
        optional=False,
    ),
    _Confusion(
        name="opts out of bob's event",
        make=lambda ven_id, bobs: _event_opt(ven_id or "", bobs["event"]),
        optional=False,
    ),
    _Confusion(
        name="answers bob's event",
        make=lambda ven_id, bobs: m.CreatedEvent(
            response=said(""), event_responses=_answered(bobs["event"]), ven_id=ven_id or ""
        ),
        optional=False,
    ),
    _Confusion(
        name="confirms bob's report request",
        make=lambda ven_id, bobs: m.CreatedReport(
            response=said("x", "452"), pending=(bobs["report"],), ven_id=ven_id
        ),
        code="200",
    ),
    _Confusion(
        name="says bob's report request is cancelled",
        make=lambda ven_id, bobs: m.CanceledReport(
            response=said("x"), pending=(bobs["report"],), ven_id=ven_id
        ),
        code="200",
    ),
    _Confusion(
        name="says bob's registration is cancelled",
        make=lambda ven_id, bobs: m.CanceledPartyRegistration(
            response=said("x"), registration_id=bobs["registration"], ven_id=ven_id
        ),
        code="200",
    ),
)


def _with_ven(message: m.UpdateReport, ven_id: str | None) -> m.UpdateReport:
    return m.UpdateReport(request_id=message.request_id, reports=message.reports, ven_id=ven_id)


_IN_BOBS_NAME: tuple[m.AnyMessage, ...] = (
    m.Poll(ven_id=BOBS),
    m.RequestEvent(request_id="e", ven_id=BOBS),
    m.RegisterReport(request_id="r", reports=(metadata("other"),), ven_id=BOBS),
    m.RegisteredReport(response=said("x"), ven_id=BOBS),
    m.UpdatedReport(response=said("x"), ven_id=BOBS),
    m.Response(response=said("x", "452"), ven_id=BOBS),
    schedule(BOBS, "mine"),
)
"""What names nothing but the VEN."""


def _confused(each: _Confusion, ven_id: str | None, ground: Ground) -> str:
    message = each.make(ven_id, ground.bobs)
    return verdict(ground.tap("plain", "alice").post(wire.write(message), row_of(message).services[0]))


def _in_bobs_name(message: m.AnyMessage, ground: Ground) -> str:
    return verdict(ground.tap("plain", "alice").post(wire.write(message), row_of(message).services[0]))


def _attacks() -> Iterator[Attack]:
    for each in _CONFUSIONS:
        # An answer to what was never asked of alice is acknowledged and comes to nothing.
        yield Attack(
            topic="ids", name=each.name, run=partial(_confused, each, ALICES), refusals=(f"200/{each.code}",)
        )
        yield Attack(
            topic="ids",
            name=f"{each.name}, in his name",
            run=partial(_confused, each, BOBS),
            refusals=("200/463",),
        )
        if each.optional:
            yield Attack(
                topic="ids",
                name=f"{each.name}, without venID",
                run=partial(_confused, each, None),
                refusals=("200/459", "200/463"),
            )
    for message in _IN_BOBS_NAME:
        yield Attack(
            topic="ids",
            name=f"{type(message).__name__} in bob's name",
            run=partial(_in_bobs_name, message),
            refusals=("200/463",),
        )


ATTACKS = tuple(_attacks())
