"""Between what the VTN thinks in and the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from schemas.oadr20b.model import ResourceStatus
from schemas.oadr20b.xmltypes import Duration
from vtn_server.decision import SaveNonce, SaveOpt
from vtn_server.event import over_at
from vtn_server.jsonform import JsonForm
from vtn_server.records import EventDraft, EventOpt, EventRecord, EventVersion
from vtn_server.state import Reading, Ven, VenId

__all__ = ["ReadingColumns", "RowForms", "RowValues", "moment_text"]

RowValues: TypeAlias = Mapping[str, str | int | float | None]


def moment_text(moment: datetime) -> str:
    """Return an instant as the tables hold it; the texts sort as the instants do."""
    return moment.astimezone(UTC).isoformat()


class ReadingColumns(Protocol):
    """A row of the readings as it comes from the database."""

    report_specifier_id: str
    start: str
    ven_id: str
    r_id: str
    report_request_id: str
    report_name: str
    duration: str | None
    value: float | None
    status: str | None
    data_quality: str | None
    received_at: str


class RowForms:
    """The converters of all tables; compiled once."""

    def __init__(self) -> None:
        self._vens = JsonForm(Ven)
        self._drafts = JsonForm(EventDraft)
        self._versions = JsonForm(EventVersion)
        self._opts = JsonForm(EventOpt)
        self._statuses = JsonForm(ResourceStatus)

    def ven_row(self, ven: Ven) -> RowValues:
        """Return the row of an aggregate."""
        return {"ven_id": ven.ven_id, "version": ven.version, "body": self._vens.dumps(ven)}

    def ven(self, body: str) -> Ven:
        """Return an aggregate."""
        return self._vens.loads(body)

    def event_row(self, record: EventRecord) -> RowValues:
        """Return the row of an event, without its versions."""
        over = over_at(record)
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

    @staticmethod
    def nonce_row(write: SaveNonce) -> RowValues:
        """Return the row of a nonce."""
        return {"nonce": write.nonce, "signed_at": moment_text(write.signed_at)}

    @staticmethod
    def nonce(nonce: str, signed_at: str) -> SaveNonce:
        """Return a nonce."""
        return SaveNonce(nonce=nonce, signed_at=datetime.fromisoformat(signed_at))

    def reading_row(self, reading: Reading) -> RowValues:
        """Return the row of a reading."""
        return {
            "report_specifier_id": reading.report_specifier_id,
            "start": moment_text(reading.start),
            "ven_id": reading.ven_id,
            "r_id": reading.r_id,
            "report_request_id": reading.report_request_id,
            "report_name": reading.report_name,
            "duration": None if reading.duration is None else str(reading.duration),
            "value": reading.value,
            "status": None if reading.status is None else self._statuses.dumps(reading.status),
            "data_quality": reading.data_quality,
            "received_at": moment_text(reading.received_at),
        }

    def reading(self, row: ReadingColumns) -> Reading:
        """Return a reading."""
        return Reading(
            ven_id=VenId(row.ven_id),
            report_request_id=row.report_request_id,
            report_specifier_id=row.report_specifier_id,
            report_name=row.report_name,
            r_id=row.r_id,
            start=datetime.fromisoformat(row.start),
            duration=None if row.duration is None else Duration.parse(row.duration),
            value=row.value,
            status=None if row.status is None else self._statuses.loads(row.status),
            data_quality=row.data_quality,
            received_at=datetime.fromisoformat(row.received_at),
        )
