"""The operator API as a table: for each route what comes in, what goes out, and who does it.

:mod:`vtn_server.api` serves the table and :mod:`vtn_server.api_openapi` describes it, so neither can know a
route that the other does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from vtn_server import api_batch as batch
from vtn_server import api_batch_models as batch_models
from vtn_server import api_handlers as handlers
from vtn_server import api_models as api
from vtn_server import api_stats
from vtn_server.api_desk import Call, Desk, Limited, OptQuery, ReadingQuery, ReportQuery
from vtn_server.api_stats_models import StatsOut

__all__ = ["CLOCK", "METRICS", "PREFIX", "TABLE", "Route"]

PREFIX: Final = "/operator"
CLOCK: Final = "X-Feederloop-Clock"
"""Header of each reply: the VTN's time, so that a caller can compare its own."""
METRICS: Final = "/metrics"
"""Where Prometheus looks; the one operation whose answer is no JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation.

    Attributes:
        path: Below :data:`PREFIX`, parameters in braces.
        answers: The model of the reply.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: str
    handler: Callable[[Desk, Call], Awaitable[api.Model]]
    answers: type[api.Model]
    query: type[api.Model] | None = None
    body: type[api.Model] | None = None
    status: int = 200


TABLE: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/events",
        name="listEvents",
        summary="List the events that are not long over, by start.",
        tag="events",
        handler=handlers.list_events,
        query=Limited,
        answers=api.EventList,
    ),
    Route(
        method="POST",
        path="/events",
        name="createEvent",
        summary="Publish an event.",
        tag="events",
        handler=handlers.create_event,
        body=api.EventCreate,
        answers=api.EventOut,
        status=201,
    ),
    Route(
        method="GET",
        path="/events/{event_id}",
        name="showEvent",
        summary="Show an event with its versions, deliveries and opts.",
        tag="events",
        handler=handlers.show_event,
        answers=api.EventDetail,
    ),
    Route(
        method="PATCH",
        path="/events/{event_id}",
        name="modifyEvent",
        summary="Change values of an event that have not elapsed.",
        tag="events",
        handler=handlers.modify_event,
        body=api.EventModify,
        answers=api.EventOut,
    ),
    Route(
        method="POST",
        path="/events/{event_id}/cancel",
        name="cancelEvent",
        summary="Cancel an event.",
        tag="events",
        handler=handlers.cancel_event,
        answers=api.EventOut,
    ),
    Route(
        method="POST",
        path="/batch/events",
        name="createEvents",
        summary="Publish several events in one transaction, all or none.",
        tag="events",
        handler=batch.create_events,
        body=batch_models.EventBatch,
        answers=batch_models.EventBatchOut,
        status=201,
    ),
    Route(
        method="PATCH",
        path="/batch/events",
        name="modifyEvents",
        summary="Change values of several events in one transaction, all or none.",
        tag="events",
        handler=batch.modify_events,
        body=batch_models.EventChanges,
        answers=batch_models.EventBatchOut,
    ),
    Route(
        method="POST",
        path="/batch/events/query",
        name="queryEvents",
        summary="Show several events, however old, with deliveries and opts.",
        tag="events",
        handler=batch.query_events,
        body=batch_models.EventQuery,
        answers=batch_models.EventStates,
    ),
    Route(
        method="GET",
        path="/vens",
        name="listVens",
        summary="List the VENs, by venID.",
        tag="vens",
        handler=handlers.list_vens,
        query=Limited,
        answers=api.VenList,
    ),
    Route(
        method="POST",
        path="/vens",
        name="provisionVen",
        summary="Make a VEN known, or change what is known of it.",
        tag="vens",
        handler=handlers.provision_ven,
        body=api.VenIn,
        answers=api.VenDetail,
        status=201,
    ),
    Route(
        method="GET",
        path="/vens/{ven_id}",
        name="showVen",
        summary="Show a VEN with its registration and what it offers.",
        tag="vens",
        handler=handlers.show_ven,
        answers=api.VenDetail,
    ),
    Route(
        method="PUT",
        path="/vens/{ven_id}/fingerprint",
        name="setFingerprint",
        summary="Give a VEN another certificate, from its next request on.",
        tag="vens",
        handler=handlers.set_fingerprint,
        body=api.FingerprintIn,
        answers=api.VenDetail,
    ),
    Route(
        method="DELETE",
        path="/vens/{ven_id}",
        name="removeVen",
        summary="Refuse a VEN from now on; what it did stays on record.",
        tag="vens",
        handler=handlers.remove_ven,
        answers=api.CancelReply,
    ),
    Route(
        method="POST",
        path="/vens/{ven_id}/registration/cancel",
        name="cancelRegistration",
        summary="End a VEN's registration.",
        tag="registrations",
        handler=handlers.cancel_registration,
        answers=api.CancelReply,
        status=202,
    ),
    Route(
        method="POST",
        path="/vens/{ven_id}/registration/reregister",
        name="requestReregistration",
        summary="Ask a VEN to register again.",
        tag="registrations",
        handler=handlers.reregister,
        answers=api.CancelReply,
        status=202,
    ),
    Route(
        method="POST",
        path="/vens/{ven_id}/reports",
        name="requestReport",
        summary="Ask a VEN for a report.",
        tag="reports",
        handler=handlers.request_report,
        body=api.ReportCreate,
        answers=api.ReportOut,
        status=202,
    ),
    Route(
        method="POST",
        path="/vens/{ven_id}/reports/{report_request_id}/cancel",
        name="cancelReport",
        summary="Ask a VEN to stop a report.",
        tag="reports",
        handler=handlers.cancel_report,
        answers=api.ReportOut,
        status=202,
    ),
    Route(
        method="GET",
        path="/reports",
        name="listReports",
        summary="List the report requests, by VEN.",
        tag="reports",
        handler=handlers.list_reports,
        query=ReportQuery,
        answers=api.ReportList,
    ),
    Route(
        method="GET",
        path="/readings",
        name="listReadings",
        summary="List what VENs reported, by start.",
        tag="reports",
        handler=handlers.readings,
        query=ReadingQuery,
        answers=api.ReadingList,
    ),
    Route(
        method="GET",
        path="/opts",
        name="listOpts",
        summary="List the VENs' answers to events and their schedules.",
        tag="opts",
        handler=handlers.list_opts,
        query=OptQuery,
        answers=api.OptList,
    ),
    Route(
        method="GET",
        path="/absences",
        name="listAbsences",
        summary="List the VENs with an optOut schedule that covers an instant.",
        tag="opts",
        handler=batch.absences,
        query=batch_models.AbsenceQuery,
        answers=batch_models.AbsenceList,
    ),
    Route(
        method="GET",
        path="/stats",
        name="showStats",
        summary="Count what went through the VTN since it started.",
        tag="stats",
        handler=api_stats.stats,
        answers=StatsOut,
    ),
)
