"""A scripted day of one VTN and five VENs, in which the VTN is killed at random points.

Everybody repeats what was not answered, as real peers do, and nobody registers twice: an answer that says
"not registered" ends the day. In a last life that nobody kills everybody gets what is still on its way.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.kill9_child import VENS
from tests.e2e.kill9_homes import home_of
from tests.e2e.kill9_ledger import Ledger, VenLedger, compare
from tests.e2e.kill9_vtn import PATIENCE_S, Answers, Vtn, persist

MOST_EVENTS = 6
MOST_REQUESTS = 5


@dataclass(frozen=True)
class Outcome:
    """What a day came to.

    Attributes:
        facts: Effects that were answered.
        replays: Signed messages that were sent again, and refused.
    """

    kills: int
    facts: int
    replays: int


class Utility:
    """The operator, who follows a script too, and looks before doing something again."""

    def __init__(self, vtn: Answers, ledger: Ledger, seed: int) -> None:
        self._vtn = vtn
        self._ledger = ledger
        self._random = random.Random(f"{seed}/operator")
        self._open: list[str] = []
        self._made = 0

    async def work(self) -> None:
        """Publish, modify, cancel and ask until cancelled."""
        while True:
            await self._random.choice(
                (self._publish, self._modify, self._modify, self._cancel, self._request)
            )()

    async def _new_version(self, event_id: str, number: int, **command: object) -> None:
        self._ledger.events_sent[event_id] = number

        async def attempt() -> None:
            if await self._vtn.command(do="look", event=event_id) < number:
                await self._vtn.command(event=event_id, **command)

        await persist(self._vtn, attempt)
        self._ledger.events[event_id] = number

    async def _publish(self) -> None:
        if len(self._open) >= MOST_EVENTS:
            return
        self._made += 1
        await self._new_version(f"event-{self._made}", 0, do="publish")
        self._open.append(f"event-{self._made}")

    async def _modify(self) -> None:
        if self._open:
            event_id = self._random.choice(self._open)
            number = self._ledger.events[event_id] + 1
            await self._new_version(event_id, number, do="modify", value=float(number))

    async def _cancel(self) -> None:
        if len(self._open) > MOST_EVENTS // 2:
            event_id = self._open.pop(0)
            await self._new_version(event_id, self._ledger.events[event_id] + 1, do="cancel")
            self._ledger.cancelled.add(event_id)

    async def _request(self) -> None:
        ven_id = self._random.choice(VENS)
        done = self._ledger.requested.setdefault(ven_id, set())
        if not self._ledger.vens[ven_id].announced or len(done) >= MOST_REQUESTS:
            return
        day = len(done) + 1
        self._ledger.requested_sent.setdefault(ven_id, set()).add(day)

        async def attempt() -> None:
            if day not in await self._vtn.command(do="requests", ven=ven_id):
                await self._vtn.command(do="request", ven=ven_id, day=day)

        await persist(self._vtn, attempt)
        done.add(day)


async def day(url: str, *, kills: int, seed: int) -> Outcome:
    """Play a day with some kills; after each, compare the store with what was answered.

    Raises:
        AssertionError: if anything was lost or doubled, or a peer was answered with an error.
    """
    chance = random.Random(seed)
    ledger = Ledger(vens={each: VenLedger() for each in VENS})
    with tempfile.TemporaryDirectory() as folder:
        vtn = Vtn(url, Path(folder))
        homes = [home_of(number, vtn, ledger.vens[ven_id], seed) for number, ven_id in enumerate(VENS)]
        utility = Utility(vtn, ledger, seed)
        try:
            async with asyncio.TaskGroup() as group:
                actors: list[asyncio.Task[None]] = []
                for kill in range(kills):
                    where = chance.choice(("before", "inside", "after", "never"))
                    await vtn.start(where, chance.randint(1, 30))
                    if kill == 0:
                        scripts = (utility.work(), *(each.live() for each in homes))
                        actors = [group.create_task(each) for each in scripts]
                    await vtn.end(chance.uniform(0.0, 0.3) if where == "never" else None)
                    await compare(url, ledger)
                actors[0].cancel()
                await _arrive(vtn, ledger)
                for actor in actors:
                    actor.cancel()
            await vtn.end(0.0)
            await compare(url, ledger)
        finally:
            await vtn.close()
    replays = sum(each.replays for each in ledger.vens.values())
    return Outcome(kills=kills, facts=ledger.facts(), replays=replays)


async def _arrive(vtn: Vtn, ledger: Ledger) -> None:
    """Let the VTN live until everybody has what it was sent.

    Raises:
        TimeoutError: if something does not come.
    """
    await vtn.start("never", 0)
    async with asyncio.timeout(PATIENCE_S):
        while missing := ledger.missing():
            await asyncio.sleep(0.02)
    assert not missing
