"""EiReport: metadata both ways, our requests, and the data that comes in. Pure.

A new metadata announcement replaces the former one and ends every request made on it (r306); the plan is
asked what to request anew, and its answer waits for the VEN's next poll as one oadrCreateReport.

Source: OpenADR 2.0b rules 300 to 346.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from schemas.oadr20b.errors import ApplicationError, DeploymentError, InvalidData, InvalidId
from schemas.oadr20b.model import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    Period,
    RegisteredReport,
    RegisterReport,
    ReportRequest,
    ReportSpecifier,
    Response,
    SpecifierPayload,
    UpdatedReport,
)
from schemas.oadr20b.rules.metadata import is_longer
from vtn_server import outbox
from vtn_server.decision import OK, Context, Decision, World, failed, ok
from vtn_server.limits import Limit, LimitReached
from vtn_server.state import ReportRequestDraft, RequestedReport, Ven

__all__ = [
    "MOST_POINTS",
    "MOST_REQUESTS",
    "cancel_report",
    "cancel_requests",
    "canceled_report",
    "check_granularity",
    "create_report",
    "created_report",
    "register_report",
    "registered_report",
    "request",
    "updated_report",
]

_METADATA: Final = "METADATA"
MOST_REQUESTS: Final = 1000
"""Report requests to one VEN, those it refused among them."""
MOST_POINTS: Final = 1000
"""rIDs that one VEN may announce."""
_MOST_CHARACTERS: Final = 200
"""In an id under which readings are stored: a database's index takes some 2700 bytes for all of a key."""
_MOST_OWED: Final = 20
_MOST_REFUSED: Final = 20  # of a VEN, kept to be shown; the oldest go first


def check_granularity(ven: Ven, drafts: tuple[ReportRequestDraft, ...]) -> None:
    """Refuse requests for periodic reports that are finer than the VEN samples; it would answer 454.

    Only what a person asks for is checked. Whatever the plan wants goes out and may be refused: it must not
    stop the VEN's metadata from being taken.

    Raises:
        InvalidData: for a granularity shorter than the shortest sampling period that was announced, or longer
            than the time between two reports (r300, r317, r340).
    """
    rates = {
        (report.report_specifier_id, each.r_id): each.sampling_rate
        for report in ven.metadata
        for each in report.descriptions
    }
    for draft in drafts:
        granularity, back = draft.granularity, draft.report_back_duration
        if back.is_zero or granularity.is_zero:  # once, or on change
            continue
        if is_longer(granularity, back):
            raise InvalidData(f"granularity {granularity} is longer than the time between reports, {back}")
        for r_id in draft.r_ids:
            rate = rates.get((draft.report_specifier_id, r_id))
            if rate is not None and is_longer(rate.min_period, granularity):
                raise InvalidData(
                    f"granularity {granularity}: {ven.ven_id} offers {r_id} of {draft.report_specifier_id}"
                    f" every {rate.min_period} to {rate.max_period}"
                )


def request(ven: Ven, drafts: tuple[ReportRequestDraft, ...], ctx: Context) -> Ven:
    """Return the VEN with new report requests, and one oadrCreateReport for them in its queue.

    Raises:
        InvalidId: for a specifier or rID the VEN did not announce (r300, r304).
        LimitReached: if there are too many requests, or messages that wait.
    """
    if not drafts:
        return ven
    offered = {
        report.report_specifier_id: {each.r_id for each in report.descriptions} for report in ven.metadata
    }
    for draft in drafts:
        r_ids = offered.get(draft.report_specifier_id)
        if r_ids is None or not draft.r_ids or not set(draft.r_ids) <= r_ids:
            raise InvalidId(f"{ven.ven_id} does not offer {draft.r_ids} of {draft.report_specifier_id}")
    if len(ven.requests) + len(drafts) > MOST_REQUESTS:
        raise LimitReached(
            Limit.REPORT_REQUESTS, f"more than {MOST_REQUESTS} report requests to {ven.ven_id}"
        )
    made = tuple(
        RequestedReport(request=_request_of(draft, ctx.new_id()), gate=draft.gate, gate_from=draft.gate_from)
        for draft in drafts
    )
    message = CreateReport(request_id=ctx.new_id(), requests=tuple(each.request for each in made))
    return outbox.enqueue(replace(ven, requests=(*ven.requests, *made)), message, ctx.new_id)


def _request_of(draft: ReportRequestDraft, report_request_id: str) -> ReportRequest:
    payloads = tuple(
        SpecifierPayload(r_id=r_id, reading_type="x-notApplicable")
        for r_id in draft.r_ids  # r338
    )
    specifier = ReportSpecifier(
        report_specifier_id=draft.report_specifier_id,
        granularity=draft.granularity,
        report_back_duration=draft.report_back_duration,
        report_interval=Period(dtstart=draft.start, duration=draft.duration),
        payloads=payloads,
    )
    return ReportRequest(report_request_id=report_request_id, specifier=specifier)


def cancel_requests(ven: Ven, report_request_ids: tuple[str, ...], ctx: Context) -> Ven:
    """Return the VEN with some requests marked as cancelled and an oadrCancelReport in its queue.

    Data the VEN sends before it confirms is still taken.

    Raises:
        InvalidId: for an id that is not one of our requests to the VEN.
    """
    unknown = [each for each in report_request_ids if ven.request(each) is None]
    if unknown or not report_request_ids:
        raise InvalidId(f"no report requests {unknown} to {ven.ven_id}")
    requests = tuple(
        replace(each, cancelled=each.cancelled or each.report_request_id in report_request_ids)
        for each in ven.requests
    )
    message = CancelReport(
        request_id=ctx.new_id(), report_request_ids=report_request_ids, report_to_follow=False
    )
    return outbox.enqueue(replace(ven, requests=requests), message, ctx.new_id)


# --- metadata ----------------------------------------------------------------------------------------------


def register_report(message: RegisterReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take a VEN's metadata and queue what the plan wants of it (r306).

    Raises:
        InvalidData: if a specifier or an rID of one comes twice (r308), or is too long to be stored.
        LimitReached: if it can report more than is kept of one VEN.
    """
    del world
    if sum(len(report.descriptions) for report in message.reports) > MOST_POINTS:
        raise LimitReached(Limit.POINTS, f"a VEN announces at most {MOST_POINTS} rIDs here")
    specifiers = [report.report_specifier_id for report in message.reports]
    if len(set(specifiers)) != len(specifiers):
        raise InvalidData("a reportSpecifierID comes twice (r308)")
    for report in message.reports:
        r_ids = [each.r_id for each in report.descriptions]
        if len(set(r_ids)) != len(r_ids):
            raise InvalidData(f"an rID of {report.report_specifier_id} comes twice (r308)")
        if max(map(len, (report.report_specifier_id, *r_ids))) > _MOST_CHARACTERS:
            raise InvalidData(f"an id of a report has more than {_MOST_CHARACTERS} characters")
    after = outbox.drop(ven, (CreateReport, CancelReport))
    after = replace(after, metadata=message.reports, metadata_at=ctx.now, requests=())
    after = request(after, ctx.report_plan(ven.ven_id, message.reports, ctx.now), ctx)
    reply = RegisteredReport(response=ok(message.request_id), ven_id=ven.ven_id)
    return Decision(
        reply=reply,
        ven=after,
        notices=(f"announced {len(message.reports)} reports, {len(after.requests)} requested",),
    )


def registered_report(message: RegisteredReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take the answer to our metadata; requests on its back are served as an oadrCreateReport's (r344).

    A push VEN gets the oadrCreatedReport that belongs to them before what it asked for. A pull VEN cannot: no
    poll may bring that message; the oadrResponse has to do.
    """
    del world
    code, request_id = message.response.code, message.response.request_id
    before, _ = outbox.finish(ven, (RegisterReport,), request_id, code, ctx)
    after, response, code = before, ok(request_id), OK
    for each in message.requests:
        try:
            after = _metadata_again(after, each, ctx)
        except ApplicationError as err:  # our metadata has been answered all the same
            response, code = failed(err, request_id), err.code
    if message.requests and outbox.is_push(ven):
        created = CreatedReport(response=response, pending=_owed(after), ven_id=ven.ven_id)
        queued = outbox.enqueue(before, created, ctx.new_id).outbox
        after = replace(after, outbox=(*queued, *after.outbox[len(before.outbox) :]))
    reply = Response(response=response, ven_id=ven.ven_id)
    return Decision(reply=reply, ven=None if after is ven else after, code=code)


def _metadata_again(ven: Ven, wanted: ReportRequest, ctx: Context) -> Ven:
    """Return the VEN with our metadata queued once more, for a METADATA request (r308, r327, r510).

    Raises:
        InvalidId: for any other specifier, since this VTN offers none.
        DeploymentError: if too many are waiting.
    """
    specifier = wanted.specifier.report_specifier_id
    if specifier != _METADATA:
        raise InvalidId(f"this VTN offers no report {specifier}")
    if len(_owed(ven)) >= _MOST_OWED:
        raise DeploymentError("too many requests for our metadata are waiting")
    again = RegisterReport(request_id=ctx.new_id(), report_request_id=wanted.report_request_id)
    return outbox.enqueue(ven, again, ctx.new_id)


def _owed(ven: Ven) -> tuple[str, ...]:
    """Return the requests of the VEN we have yet to serve (r329)."""
    return tuple(
        item.message.report_request_id
        for item in ven.outbox
        if isinstance(item.message, RegisterReport) and item.message.report_request_id is not None
    )


def create_report(message: CreateReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Serve a VEN's request for our metadata."""
    del world
    after = ven
    for each in message.requests:
        if each.report_request_id not in _owed(after):  # else a retry
            after = _metadata_again(after, each, ctx)
    reply = CreatedReport(response=ok(message.request_id), pending=_owed(after), ven_id=ven.ven_id)
    return Decision(reply=reply, ven=None if after is ven else after)


def cancel_report(message: CancelReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Drop metadata we still owe the VEN.

    Raises:
        InvalidId: for an id we owe nothing for (r336).
    """
    del world, ctx
    if not set(message.report_request_ids) <= set(_owed(ven)):
        raise InvalidId("a reportRequestID is not one we serve (r336)")
    kept = tuple(
        item
        for item in ven.outbox
        if not (
            isinstance(item.message, RegisterReport)
            and item.message.report_request_id in message.report_request_ids
        )
    )
    after = replace(ven, outbox=kept)
    reply = CanceledReport(response=ok(message.request_id), pending=_owed(after), ven_id=ven.ven_id)
    return Decision(reply=reply, ven=after)


# --- answers to our requests -------------------------------------------------------------------------------


def created_report(message: CreatedReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take the answer to an oadrCreateReport: its requests are acknowledged, or refused.

    Refused ones are kept, to be shown, until the VEN announces its reports anew.
    """
    del world
    code, request_id = message.response.code, message.response.request_id
    after, item = outbox.finish(ven, (CreateReport,), request_id, code, ctx)
    reply = Response(response=ok(request_id), ven_id=ven.ven_id)
    if item is None or not isinstance(item.message, CreateReport):
        return Decision(reply=reply)
    ids = {each.report_request_id for each in item.message.requests}
    if not code.startswith("2"):
        after = replace(after, requests=_turned_down(after.requests, ids, code))
        return Decision(reply=reply, ven=after, notices=(f"report request refused with {code}",))
    requests = tuple(
        replace(each, acknowledged=each.acknowledged or each.report_request_id in ids)
        for each in after.requests
    )
    return Decision(reply=reply, ven=replace(after, requests=requests))


def _turned_down(
    requests: tuple[RequestedReport, ...], ids: set[str], code: str
) -> tuple[RequestedReport, ...]:
    """Return the requests with some marked as refused, and of all refused ones only the latest."""
    marked = tuple(
        replace(each, refused=code) if each.report_request_id in ids else each for each in requests
    )
    refused = [each.report_request_id for each in marked if each.refused is not None]
    dropped = frozenset(refused[:-_MOST_REFUSED])
    return tuple(each for each in marked if each.report_request_id not in dropped)


def canceled_report(message: CanceledReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take the answer to an oadrCancelReport: now the requests are gone."""
    del world
    code, request_id = message.response.code, message.response.request_id
    after, item = outbox.finish(ven, (CancelReport,), request_id, code, ctx)
    reply = Response(response=ok(request_id), ven_id=ven.ven_id)
    if item is None or not isinstance(item.message, CancelReport):
        return Decision(reply=reply)
    if code.startswith("2"):
        gone = item.message.report_request_ids
        requests = tuple(each for each in after.requests if each.report_request_id not in gone)
        after = replace(after, requests=requests)
    return Decision(reply=reply, ven=after)


def updated_report(message: UpdatedReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Tolerate an answer to data this VTN never sends."""
    del world, ctx
    return Decision(reply=Response(response=ok(message.response.request_id), ven_id=ven.ven_id))
