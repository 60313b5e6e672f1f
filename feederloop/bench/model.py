"""What is measured, and what comes of it. All of it can be written as JSON and read again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

import numpy as np

__all__ = [
    "TARGETS",
    "Comparison",
    "Contestant",
    "EngineRow",
    "Figure",
    "Kind",
    "Machine",
    "Record",
    "Remark",
    "Row",
    "Sample",
    "Scope",
    "Skipped",
    "Target",
    "Transport",
    "compare",
    "percentile",
    "summarise",
]


class Kind(StrEnum):
    """A kind of message."""

    EMPTY_POLL = "empty poll"
    EVENT_POLL = "poll with one event"
    REQUEST_EVENT = "requestEvent"
    CREATED_EVENT = "createdEvent"
    REPORT_1 = "report, 1 interval"
    REPORT_60 = "report, 60 intervals"
    REGISTRATION = "registration"


class Transport(StrEnum):
    """How messages travel; signed ones over mutual TLS, too."""

    PLAIN = "plain"
    TLS = "mTLS"
    SIGNED_RSA = "signed, RSA-2048"
    SIGNED_EC = "signed, P-256"

    @property
    def signed(self) -> bool:
        """Whether messages carry signatures."""
        return self in (Transport.SIGNED_RSA, Transport.SIGNED_EC)

    @property
    def key(self) -> str:
        """The kind of certificate, as the authority names its files."""
        return "rsa" if self is Transport.SIGNED_RSA else "ec"


class Contestant(StrEnum):
    """Whose server it is."""

    OURS = "feederloop"
    OPENLEADR = "openleadr"
    BARE = "bare aiohttp"
    REMOTE = "the VTN at the URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round of one kind came to.

    Attributes:
        cpu_ms: CPU of the server's process per message, all its threads; None where it cannot be read.
        per_s: Messages per second.
        latencies_ms: How long each message took, seen by the one who sent it.
    """

    kind: Kind
    transport: Transport
    contestant: Contestant
    cpu_ms: float | None
    per_s: float
    latencies_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one kind, transport and contestant: medians of rounds, percentiles of all messages."""

    kind: Kind
    transport: Transport
    contestant: Contestant
    rounds: int
    messages: int
    cpu_ms: float | None
    per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked of us: CPU of the other one, divided by ours, is at least this."""

    kind: Kind
    transport: Transport
    against: Contestant
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much more CPU another one takes per message than we.

    Attributes:
        ratio: CPU of the other one divided by ours, median of the rounds; below 1 it is cheaper than we.
        lowest: The smallest of the rounds.
        target: The least that is asked; None where nothing is.
    """

    kind: Kind
    transport: Transport
    against: Contestant
    ratio: float
    lowest: float
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.ratio >= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What could not be measured, and why."""

    kind: Kind
    transport: Transport
    contestant: Contestant
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """The time of one computation of the engine.

    Attributes:
        what: What is computed, and of what size.
        median_ms: Median of the rounds.
        best_ms: The shortest: what the code costs where nothing else runs.
    """

    what: str
    rounds: int
    median_ms: float
    best_ms: float


class Scope(StrEnum):
    """What a figure of a crowd of VENs is about."""

    SCALE = "scale"
    FANOUT = "fanout"
    SOAK = "soak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a run with many VENs.

    Attributes:
        what: What was measured, in words.
        most: What it may be at most; None where nothing is asked.
    """

    scope: Scope
    what: str
    value: float
    unit: str
    most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it is what is asked; None where nothing is."""
        return None if self.most is None else self.value <= self.most


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A sentence about a run with many VENs: how it was done, or what disturbed it."""

    scope: Scope
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and with what the figures were measured.

    Attributes:
        versions: Of Python and the libraries that matter, as ``name version``.
        load: Runnable processes on average in the minute before.
    """

    date: str
    processor: str
    cores: int
    system: str
    versions: tuple[str, ...]
    load: float

    def differs(self, other: Machine) -> bool:
        """Whether this is another machine, or has another version of something both name."""
        mine, theirs = (dict(text.rsplit(" ", 1) for text in each.versions) for each in (self, other))
        return (self.processor, self.cores, self.system) != (
            other.processor,
            other.cores,
            other.system,
        ) or any(mine[name] != theirs[name] for name in mine.keys() & theirs.keys())

    @property
    def elsewhere(self) -> str:
        """What is said of figures from here among figures from another one."""
        return (
            f"Measured on another machine or with other versions: {self.processor}, {self.cores} cores, "
            f"{self.system}; {', '.join(self.versions)}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything one run has measured.

    Attributes:
        vens: How many VENs sent at the same time.
        same_loop: Whether the others ran on uvloop, too.
        engine_machine: Where the engine was measured; None is where everything was.
        figures: Of runs with many VENs; ``remarks`` say how they were done.
    """

    machine: Machine
    vens: int = 0
    same_loop: bool = False
    rows: tuple[Row, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    engine: tuple[EngineRow, ...] = ()
    engine_machine: Machine | None = None
    figures: tuple[Figure, ...] = ()
    remarks: tuple[Remark, ...] = ()


def _asked(kind: Kind, ratio: float, transport: Transport = Transport.PLAIN) -> Target:
    return Target(kind=kind, transport=transport, against=Contestant.OPENLEADR, ratio=ratio)


TARGETS: Final = (
    _asked(Kind.EMPTY_POLL, 2.0),
    Target(kind=Kind.EMPTY_POLL, transport=Transport.PLAIN, against=Contestant.BARE, ratio=0.5),
    _asked(Kind.EVENT_POLL, 7.0),
    _asked(Kind.REQUEST_EVENT, 7.0),
    _asked(Kind.CREATED_EVENT, 1.5),
    _asked(Kind.REPORT_1, 1.5),
    _asked(Kind.REPORT_60, 5.0),
    _asked(Kind.EMPTY_POLL, 100.0, Transport.SIGNED_RSA),
    _asked(Kind.EMPTY_POLL, 3.5, Transport.SIGNED_EC),
)


def percentile(values: tuple[float, ...], share: float) -> float:
    """Return the smallest of the values that at least this share of them does not exceed.

    Args:
        values: At least one.
        share: From 0 to 1.
    """
    return float(np.percentile(values, 100.0 * share, method="inverted_cdf"))


def summarise(samples: tuple[Sample, ...]) -> tuple[Row, ...]:
    """Return a row for each kind, transport and contestant, in the order of their first samples."""
    groups: dict[tuple[Kind, Transport, Contestant], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.kind, sample.transport, sample.contestant), []).append(sample)
    rows = []
    for (kind, transport, contestant), found in groups.items():
        cpu_ms = [each.cpu_ms for each in found if each.cpu_ms is not None]
        latencies_ms = tuple(value for each in found for value in each.latencies_ms)
        rows.append(
            Row(
                kind=kind,
                transport=transport,
                contestant=contestant,
                rounds=len(found),
                messages=len(latencies_ms),
                cpu_ms=median(cpu_ms) if cpu_ms else None,
                per_s=median(each.per_s for each in found),
                p50_ms=percentile(latencies_ms, 0.5),
                p99_ms=percentile(latencies_ms, 0.99),
            )
        )
    return tuple(rows)


def compare(samples: tuple[Sample, ...], targets: tuple[Target, ...] = TARGETS) -> tuple[Comparison, ...]:
    """Return how the others stand against us, round by round: rounds next to each other share the weather."""
    found: dict[tuple[Kind, Transport, Contestant], list[float]] = {}
    for sample in samples:
        if sample.cpu_ms is not None:
            key = (sample.kind, sample.transport, sample.contestant)
            found.setdefault(key, []).append(sample.cpu_ms)
    asked = {(each.kind, each.transport, each.against): each.ratio for each in targets}
    comparisons = []
    for (kind, transport, contestant), theirs in found.items():
        ours = found.get((kind, transport, Contestant.OURS), [])
        if contestant is Contestant.OURS or len(ours) != len(theirs):
            continue
        ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
        comparisons.append(
            Comparison(
                kind=kind,
                transport=transport,
                against=contestant,
                ratio=median(ratios),
                lowest=min(ratios),
                target=asked.get((kind, transport, contestant)),
            )
        )
    return tuple(comparisons)
