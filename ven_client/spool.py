"""Report data on its way to the VTN: kept until it was answered, oldest first, bounded per request. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.oadr20b.model import Report

__all__ = ["Spool", "Spooled", "points_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A report that waits, with its place in the order in which reports were made."""

    number: int
    report: Report


def points_of(report: Report) -> int:
    """Return how many values a report carries."""
    return sum(len(interval.payloads) for interval in report.intervals or ())


class Spool:
    """Unsent and unanswered reports.

    Args:
        keep_points: What is kept of each report request at least. A report is dropped, oldest first, only
            if this much remains without it (r510 asks for 100 points).
        batch_points: A message holds no more values than this, but at least one report.
    """

    def __init__(self, keep_points: int, batch_points: int = 2000) -> None:
        self._keep_points = keep_points
        self._batch_points = batch_points
        self._waiting: tuple[Spooled, ...] = ()
        self._made = 0
        self._alone = 0
        self.dropped = 0
        """Reports that were given up because newer ones needed the room."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def reports(self) -> tuple[Report, ...]:
        """Everything that waits, oldest first."""
        return tuple(one.report for one in self._waiting)

    def snapshot(self) -> tuple[Spooled, ...]:
        """Return everything that waits, to be kept on disk."""
        return self._waiting

    def restore(self, waiting: tuple[Spooled, ...]) -> None:
        """Take back what :meth:`snapshot` gave."""
        self._waiting = tuple(sorted(waiting, key=lambda one: one.number))
        self._made = max((one.number for one in waiting), default=0)
        self._alone = 0

    def add(self, report: Report) -> None:
        """Put a report at the end."""
        self._made += 1
        self._waiting += (Spooled(number=self._made, report=report),)
        same = [r for r in self.reports if r.report_request_id == report.report_request_id]
        total = sum(points_of(r) for r in same)
        for oldest in same:
            total -= points_of(oldest)
            if total < self._keep_points:
                return
            self._discard(oldest)
            self.dropped += 1

    def batch(self) -> tuple[Report, ...]:
        """Return what the next message should carry, in order; empty if nothing waits."""
        if self._alone:
            return self.reports[:1]
        points = 0
        for count, one in enumerate(self._waiting):
            points += points_of(one.report)
            if points > self._batch_points and count:
                return self.reports[:count]
        return self.reports

    def remove(self, reports: tuple[Report, ...]) -> None:
        """Forget reports that are done with."""
        for report in reports:
            self._discard(report)

    def split(self, reports: tuple[Report, ...]) -> None:
        """Send these reports one to a message from now on: together they were refused, one may be good."""
        self._alone = len(reports)

    def drop(self, report_request_id: str) -> None:
        """Forget what waits for one request."""
        self.remove(tuple(r for r in self.reports if r.report_request_id == report_request_id))

    def clear(self) -> None:
        """Forget everything."""
        self._waiting = ()
        self._alone = 0

    def _discard(self, report: Report) -> None:
        for index, waiting in enumerate(self._waiting):
            if waiting.report is report:
                self._waiting = self._waiting[:index] + self._waiting[index + 1 :]
                if index < self._alone:
                    self._alone -= 1
                return
