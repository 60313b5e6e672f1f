"""Equal parts of aggregates are kept once: ten thousand homes of one make announce the same reports.

What a VEN can report, and what is asked of it, is most of its aggregate, and differs between VENs in ids and
dates only. The descriptions and specifiers in it are values that never change, so that VENs can hold the same
ones. Likewise one price after another goes to the same ten thousand VENs. The tables are bounded, as a peer
may announce what it likes: a full one is emptied, which costs nothing but memory, as what is shared by then
stays shared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from schemas.oadr20b.model import Report, ReportDescription, ReportSpecifier
from vtn_server.records import EventRecord
from vtn_server.state import RequestedReport, Ven, VenId

__all__ = ["Shared"]

Part: TypeAlias = ReportDescription | ReportSpecifier
T = TypeVar("T", ReportDescription, ReportSpecifier)
_MOST: Final = 4096
_MOST_AUDIENCES: Final = 256
_FEW: Final = 8
"""An audience below this is not worth sharing."""


class Shared:
    """The parts that VENs may have in common.

    Args:
        most: How many are remembered.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most: Final = most
        self._parts: Final[dict[Part, Part]] = {}
        self._audiences: Final[dict[tuple[VenId, ...], tuple[VenId, ...]]] = {}
        self._known: Final[set[int]] = set()
        """The identities of those that are remembered: looking one of them up again costs no hash."""

    def __len__(self) -> int:
        return len(self._parts)

    def of(self, ven: Ven, former: Ven | None) -> Ven:
        """Return an equal VEN whose parts are shared; what it has from ``former`` is taken as it is."""
        metadata, requests = ven.metadata, ven.requests
        if former is None or metadata is not former.metadata:
            metadata = tuple(self._report(each) for each in metadata)
        if former is None or requests is not former.requests:
            requests = tuple(self._request(each) for each in requests)
        same = _same(metadata, ven.metadata) and _same(requests, ven.requests)
        return ven if same else replace(ven, metadata=metadata, requests=requests)

    def of_event(self, record: EventRecord) -> EventRecord:
        """Return an equal event; its audience is the one that an earlier event had, if it is the same."""
        audience = record.audience
        if len(audience) < _FEW:
            return record
        found = self._audiences.get(audience)
        if found is None:
            if len(self._audiences) >= _MOST_AUDIENCES:
                self._audiences.clear()
            self._audiences[audience] = audience
            return record
        return record if found is audience else replace(record, draft=replace(record.draft, audience=found))

    def _report(self, report: Report) -> Report:
        parts = tuple(self._part(each) for each in report.descriptions)
        return report if _same(parts, report.descriptions) else replace(report, descriptions=parts)

    def _request(self, wanted: RequestedReport) -> RequestedReport:
        specifier = self._part(wanted.request.specifier)
        if specifier is wanted.request.specifier:
            return wanted
        return replace(wanted, request=replace(wanted.request, specifier=specifier))

    def _part(self, part: T) -> T:
        if id(part) in self._known:
            return part
        found = self._parts.get(part)
        if found is not None:
            assert isinstance(found, type(part))  # equal values are of one class
            return found
        if len(self._parts) >= self._most:
            self._parts.clear()
            self._known.clear()
        self._parts[part] = part
        self._known.add(id(part))
        return part


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
