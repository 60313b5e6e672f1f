"""Between what the VTN thinks in and the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias

from schemas.oadr20b.model import ReportDescription, ReportSpecifier, Target
from schemas.oadr20b.xmltypes import Duration
from vtn_server.blocks import moment_text
from vtn_server.decision import Delivery, FetchedEvent, SaveDelivery, SaveNonce, SaveOpt
from vtn_server.jsonform import JsonForm
from vtn_server.records import EventDraft, EventOpt, EventRecord, EventVersion
from vtn_server.state import Ven, VenId

__all__ = ["RowForms", "RowValues", "moment_text"]

_SHARED: Final = (Duration, ReportDescription, ReportSpecifier, Target)
"""What VENs have in common."""

RowValues: TypeAlias = Mapping[str, str | int | float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deliveries:
    """The body of a row of the deliveries."""

    delivery: Delivery
    fetched: tuple[FetchedEvent, ...]


class RowForms:
    """The converters of all tables; compiled once."""

    def __init__(self) -> None:
        self._vens = JsonForm(Ven, _SHARED)
        self._drafts = JsonForm(EventDraft)
        self._versions = JsonForm(EventVersion)
        self._opts = JsonForm(EventOpt)
        self._deliveries = JsonForm(_Deliveries)

    def ven_row(self, ven: Ven) -> RowValues:
        """Return the row of an aggregate."""
        return {"ven_id": ven.ven_id, "version": ven.version, "body": self._vens.dumps(ven)}

    def ven(self, body: str) -> Ven:
        """Return an aggregate."""
        return self._vens.loads(body)

    def event_row(self, record: EventRecord) -> RowValues:
        """Return the row of an event, without its versions."""
        over = record.over_at
        return {
            "event_id": record.event_id,
            "over_at": "" if over is None else moment_text(over),
            "version": record.modification_number,
            "body": self._drafts.dumps(record.draft),
        }

    def version_row(self, record: EventRecord, version: EventVersion) -> RowValues:
        """Return the row of one version of an event."""
        return {
            "event_id": record.event_id,
            "modification_number": version.modification_number,
            "body": self._versions.dumps(version),
        }

    def version(self, body: str) -> EventVersion:
        """Return one version of an event."""
        return self._versions.loads(body)

    def record(self, body: str, versions: tuple[EventVersion, ...]) -> EventRecord:
        """Return an event."""
        return EventRecord(draft=self._drafts.loads(body), versions=versions)

    def opt_row(self, write: SaveOpt) -> RowValues:
        """Return the row of an answer."""
        return {"event_id": write.event_id, "ven_id": write.ven_id, "body": self._opts.dumps(write.opt)}

    def opt(self, event_id: str, ven_id: str, body: str) -> SaveOpt:
        """Return an answer."""
        return SaveOpt(event_id=event_id, ven_id=VenId(ven_id), opt=self._opts.loads(body))

    def delivery_row(self, write: SaveDelivery) -> RowValues:
        """Return the row of a VEN's deliveries."""
        body = _Deliveries(delivery=replace(write.delivery, dirty=False), fetched=write.fetched)
        return {"ven_id": write.ven_id, "version": write.version, "body": self._deliveries.dumps(body)}

    def delivery(self, ven_id: str, version: int, body: str) -> SaveDelivery:
        """Return a VEN's deliveries."""
        found = self._deliveries.loads(body)
        return SaveDelivery(
            ven_id=VenId(ven_id), version=version, delivery=found.delivery, fetched=found.fetched
        )

    @staticmethod
    def nonce_row(write: SaveNonce) -> RowValues:
        """Return the row of a nonce."""
        return {"nonce": write.nonce, "signed_at": moment_text(write.signed_at)}

    @staticmethod
    def nonce(nonce: str, signed_at: str) -> SaveNonce:
        """Return a nonce."""
        return SaveNonce(nonce=nonce, signed_at=datetime.fromisoformat(signed_at))
