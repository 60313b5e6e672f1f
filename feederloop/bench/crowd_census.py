"""The store of a VTN in which a whole crowd is registered.

It is what a VTN would have after as many registrations: one VEN registers by messages, with all that a home
of ours can report, and its aggregate is written once more for each of the others, under ids of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from dso_engine.gateway_messages import report_requests
from feederloop.bench import messages
from feederloop.bench.crowd_files import Crowd, push_host
from feederloop.bench.grounds import VTN_ID, now
from feederloop.bench.load import BenchError
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName, TransportName
from schemas.oadr20b.model import AnyMessage, CreateReport, Poll, RegisteredReport, RegisterReport, Report
from ven_client.reports import metadata
from ven_client.slots import slot_start
from vtn_server.decision import SaveVen
from vtn_server.dispatch import TABLE
from vtn_server.operator import Operator, Provision, ReportRequestDraft, VenId
from vtn_server.service import VtnService
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import open_store
from vtn_server.state import PeerIdentity, Ven

__all__ = ["fill_store"]

_MARKET: Final = "http://feederloop.example/local-market"
_FIRST: Final = "the-first"
_MOST_ITEMS: Final = 10


def _asked(ven_id: VenId, announced: tuple[Report, ...], present: datetime) -> tuple[ReportRequestDraft, ...]:
    """Return the reports that the engine asks of a home."""
    del ven_id
    return report_requests(announced, slot_start(present))


async def fill_store(crowd: Crowd) -> None:
    """Write the store in which all VENs are registered.

    Raises:
        BenchError: if the VTN does not go along.
    """
    store = open_store(f"sqlite:///{crowd.store}")
    settings = VtnSettings(vtn_id=VTN_ID, identity=Identity.CLAIMED)
    service = await VtnService.start(
        settings, store, now=now, new_id=lambda: secrets.token_hex(8), report_plan=_asked
    )
    try:
        first = await _registered(service)
        await Operator(service).remove(first.ven_id)
        await store.commit([SaveVen(ven=each) for each in _copies(first, crowd)])
    finally:
        await service.close()
        await store.close()


async def _registered(service: VtnService) -> Ven:
    """Return a VEN that has registered, announced what it measures, and answered what it was asked."""
    await Operator(service).provision([Provision(ven_id=VenId(_FIRST), ven_name=_FIRST)])
    await _said(service, messages.registration(_FIRST, signed=False))
    reports = metadata(now(), local_market=_MARKET, has_battery=True, switch_id=None)
    await _said(service, RegisterReport(request_id="metadata", reports=reports, ven_id=_FIRST))
    for _ in range(_MOST_ITEMS):
        item = await _said(service, Poll(ven_id=_FIRST))
        if isinstance(item, RegisterReport):
            answer: AnyMessage = RegisteredReport(response=messages.said(item.request_id), ven_id=_FIRST)
        elif isinstance(item, CreateReport):
            ids = [each.report_request_id for each in item.requests]
            answer = messages.created_report(item, _FIRST, ids)
        else:
            break
        await _said(service, answer)
    ven = service.memory.ven(_FIRST)
    if ven is None or ven.registration is None or ven.outbox or not ven.requests:
        raise BenchError(f"the first VEN is not through its bootstrap: {ven}")
    return ven


async def _said(service: VtnService, message: AnyMessage) -> AnyMessage:
    endpoint: ServiceName = TABLE[type(message)].services[0]
    status, body = await service.handle(wire.write(message), PeerIdentity(), endpoint)
    if status != 200:
        raise BenchError(f"{type(message).__name__} was answered with status {status}: {body[:200]!r}")
    return wire.read(body)


def _copies(first: Ven, crowd: Crowd) -> Iterator[Ven]:
    registration = first.registration
    assert registration is not None  # it was checked
    for number, (name, mark) in enumerate(crowd.read_census()):
        ven_id = VenId(name)
        pushed = number >= crowd.first_push
        address = f"https://{push_host(number)}:{crowd.port}/" if pushed else None
        yield replace(
            first,
            ven_id=ven_id,
            version=1,
            provision=replace(first.provision, ven_id=ven_id, ven_name=name, fingerprint=mark),
            registration=replace(
                registration,
                registration_id=secrets.token_hex(8),
                transport_name=TransportName.SIMPLE_HTTP,
                transport_address=address,
                http_pull_model=not pushed,
                at=datetime.now(UTC),
            ),
            requests=tuple(
                replace(each, request=replace(each.request, report_request_id=secrets.token_hex(8)))
                for each in first.requests
            ),
        )
