"""The rounds of ``feederloop bench vtn``: all contestants take turns at every kind of message.

Whatever else the machine does falls on all of them, so that ratios of neighbouring rounds mean something on a
busy machine, too. Messages are built, and signed, before a measurement begins; replies are checked after it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from feederloop.bench import messages
from feederloop.bench.grounds import Grounds
from feederloop.bench.load import BenchError, BenchVen, Measured, Order, fire
from feederloop.bench.model import Contestant, Kind, Sample, Skipped, Transport
from feederloop.bench.replies import Expected
from feederloop.bench.server import ChildServer, Server
from schemas.oadr20b import wire
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.model import DistributeEvent, Poll, RequestEvent

__all__ = ["Outcome", "Plan", "play", "play_children"]

_PUBLISHED: Final = 3
"""How often an event is published in a round: each VEN polls it and answers it once each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        each: How many messages of a kind each VEN sends in a round; of polls five times as many.
        same_loop: Whether the others run on uvloop, too, as we do.
    """

    rounds: int
    vens: int
    each: int = 4
    kinds: tuple[Kind, ...] = tuple(Kind)
    same_loop: bool = False


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was measured, and what could not be."""

    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take what another one has."""
        self.samples += other.samples
        self.skipped += other.skipped


Say = Callable[[str], None]


async def play_children(
    transports: Sequence[Transport], contestants: Sequence[Contestant], plan: Plan, say: Say
) -> Outcome:
    """Start the contestants as processes of their own, one transport after another, and measure.

    Raises:
        BenchError: if a server does not do what it should, or a reply is not what it should be.
    """
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="feederloop-bench-") as place:
        for number, transport in enumerate(transports):
            grounds = Grounds(folder=Path(place) / "pki", transport=transport, vens=plan.vens)
            if not number:
                grounds.make()
            servers: list[Server] = [
                ChildServer(who=who, transport=transport, grounds=grounds, same_loop=plan.same_loop)
                for who in contestants
                if not (who is Contestant.BARE and (transport.signed or Kind.EMPTY_POLL not in plan.kinds))
            ]
            outcome.add(await play(servers, plan, say))
    return outcome


async def play(servers: Sequence[Server], plan: Plan, say: Say) -> Outcome:
    """Start some servers of one transport and measure all kinds, round by round; close them.

    Raises:
        BenchError: if a server does not do what it should, or a reply is not what it should be.
    """
    outcome = Outcome()
    try:
        for server in servers:
            await server.start()
            await fire(server.vens, _polls(server, 1), server.clock)  # caches and connections
        for number in range(plan.rounds):
            say(f"{servers[0].transport}: round {number + 1} of {plan.rounds}")
            for step in _STEPS:
                for server in servers:
                    await step(_Turn(server=server, plan=plan, outcome=outcome))
    finally:
        await asyncio.gather(*(server.close() for server in servers))
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One server's turn in one step of a round.

    openleadr with RSA signatures takes 60 ms for a message and refuses what was signed more than five seconds
    ago, so of these each VEN sends one at a time.
    """

    server: Server
    plan: Plan
    outcome: Outcome

    @property
    def _slow(self) -> bool:
        return (self.server.who, self.server.transport) == (Contestant.OPENLEADR, Transport.SIGNED_RSA)

    @property
    def each(self) -> int:
        """How many messages of a kind each VEN sends."""
        return 1 if self._slow else self.plan.each

    @property
    def polls(self) -> int:
        """How many empty polls each VEN sends."""
        return 1 if self._slow else 5 * self.plan.each

    def wants(self, *kinds: Kind) -> bool:
        """Return whether any of these kinds is measured here."""
        bare = self.server.who is Contestant.BARE
        return any(kind in self.plan.kinds and (kind is Kind.EMPTY_POLL or not bare) for kind in kinds)

    def expected(self, ven: BenchVen, kind: Kind, version: int | None = None) -> Expected:
        """Return what a reply has to be."""
        signed = self.server.transport.signed
        return Expected(kind=kind, ven_id=ven.ven_id, version=version, signed=signed)

    def note(self, kind: Kind, *parts: Measured) -> None:
        """Keep what some measurements of one kind came to, as one sample."""
        if kind not in self.plan.kinds:
            return
        latencies_ms = tuple(value for part in parts for value in part.latencies_ms)
        cpu_s = [part.cpu_s for part in parts if part.cpu_s is not None]
        self.outcome.samples.append(
            Sample(
                kind=kind,
                transport=self.server.transport,
                contestant=self.server.who,
                cpu_ms=1e3 * sum(cpu_s) / len(latencies_ms) if cpu_s else None,
                per_s=len(latencies_ms) / sum(part.seconds for part in parts),
                latencies_ms=latencies_ms,
            )
        )

    def skip(self, reason: str, *kinds: Kind) -> None:
        """Say once why some kinds are not measured."""
        for kind in kinds:
            told = Skipped(
                kind=kind, transport=self.server.transport, contestant=self.server.who, reason=reason
            )
            if kind in self.plan.kinds and told not in self.outcome.skipped:
                self.outcome.skipped.append(told)

    async def fire(self, orders: Sequence[Sequence[Order]]) -> Measured:
        """Send what was built.

        Raises:
            BenchError: if a reply is not what it should be.
        """
        try:
            return await fire(self.server.vens, orders, self.server.clock)
        except BenchError as err:
            raise BenchError(f"{self.server.who}, {self.server.transport}: {err}") from err


def _polls(server: Server, count: int) -> list[list[Order]]:
    signed = server.transport.signed
    return [
        [
            ven.order(
                Poll(ven_id=ven.ven_id), Expected(kind=Kind.EMPTY_POLL, ven_id=ven.ven_id, signed=signed)
            )
            for _ in range(count)
        ]
        for ven in server.vens
    ]


async def _empty_polls(turn: _Turn) -> None:
    if turn.wants(Kind.EMPTY_POLL):
        turn.note(Kind.EMPTY_POLL, await turn.fire(_polls(turn.server, turn.polls)))


async def _events(turn: _Turn) -> None:
    """Publish, poll, answer; then ask for the event again and again."""
    kinds = (Kind.EVENT_POLL, Kind.CREATED_EVENT, Kind.REQUEST_EVENT)
    if not turn.wants(*kinds):
        return
    if not turn.server.can_publish:
        turn.skip("nobody can tell this VTN to publish an event; of one of ours: --operator", *kinds)
        return
    vens = turn.server.vens
    polls: list[Measured] = []
    answers: list[Measured] = []
    version = 0
    for _ in range(_PUBLISHED):
        version = await turn.server.publish()
        orders = [
            [ven.order(Poll(ven_id=ven.ven_id), turn.expected(ven, Kind.EVENT_POLL, version))] for ven in vens
        ]
        polled = await turn.fire(orders)
        polls.append(polled)
        answers.append(
            await turn.fire([_answer(turn, v, b) for v, b in zip(vens, polled.bodies, strict=True)])
        )
    turn.note(Kind.EVENT_POLL, *polls)
    turn.note(Kind.CREATED_EVENT, *answers)
    if turn.wants(Kind.REQUEST_EVENT):
        asks = [
            [
                ven.order(
                    RequestEvent(request_id=f"ask-{k}", ven_id=ven.ven_id),
                    turn.expected(ven, Kind.REQUEST_EVENT, version),
                )
                for k in range(turn.each)
            ]
            for ven in vens
        ]
        turn.note(Kind.REQUEST_EVENT, await turn.fire(asks))


def _answer(turn: _Turn, ven: BenchVen, bodies: Sequence[bytes]) -> list[Order]:
    try:
        sent = wire.read(bodies[0])
    except WireError as err:
        raise BenchError(f"the event cannot be read: {err}") from err
    answer = messages.answer_to(sent, ven.ven_id) if isinstance(sent, DistributeEvent) else None
    if answer is None:
        raise BenchError("the event wants no answer")
    return [ven.order(answer, turn.expected(ven, Kind.CREATED_EVENT))]


def _reports(kind: Kind, intervals: int) -> Callable[[_Turn], Awaitable[None]]:
    async def reports(turn: _Turn) -> None:
        if not turn.wants(kind):
            return
        if not all(ven.requests for ven in turn.server.vens):
            turn.skip("this VTN asks for no reports; one of ours does with --operator", kind)
            return
        orders: list[list[Order]] = []
        for ven in turn.server.vens:
            mine = []
            for _ in range(turn.each):
                message = messages.report(ven.ven_id, ven.requests[-1], ven.minute, intervals)
                mine.append(ven.order(message, turn.expected(ven, kind)))
                ven.minute += intervals
            orders.append(mine)
        turn.note(kind, await turn.fire(orders))

    return reports


async def _registrations(turn: _Turn) -> None:
    """Register anew, which wipes what was there; then get to where everything was before."""
    if not turn.wants(Kind.REGISTRATION):
        return
    signed = turn.server.transport.signed
    orders = []
    for ven in turn.server.vens:
        message = messages.registration(ven.name, signed=signed)
        expected = turn.expected(ven, Kind.REGISTRATION)
        orders.append([ven.order(message, expected) for _ in range(turn.each)])
    turn.note(Kind.REGISTRATION, await turn.fire(orders))
    await asyncio.gather(*(ven.announce() for ven in turn.server.vens))
    await turn.server.settle()


_STEPS: Final = (
    _empty_polls,
    _events,
    _reports(Kind.REPORT_1, 1),
    _reports(Kind.REPORT_60, 60),
    _registrations,
)
