"""The scripted day of :mod:`.kill9_day` with several VTN processes on one PostgreSQL.

Each request goes to any process that is up. The processes die around their commits, one at a time, and are
started again while the others go on; now and then all are dead, and the store is compared with what was
answered.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.kill9_child import VENS
from tests.e2e.kill9_day import Outcome, Utility
from tests.e2e.kill9_homes import home_of
from tests.e2e.kill9_ledger import Ledger, VenLedger, compare
from tests.e2e.kill9_vtn import PATIENCE_S, Died, Vtn

KILLS_A_ROUND = 2
AGAIN_S = 0.01
SETTLED_S = 0.2
"""How long the database may take to end what a process had begun that was killed."""


class Crowd:
    """Several processes of one VTN.

    Args:
        vtns: The processes.
        chance: Chooses among them.
    """

    life = 0

    def __init__(self, vtns: list[Vtn], chance: random.Random) -> None:
        self._vtns = vtns
        self._chance = chance

    def _one(self) -> Vtn:
        up = [each for each in self._vtns if each.up]
        if not up:
            raise Died
        return self._chance.choice(up)

    @property
    def port(self) -> int:
        """That of any process that is up."""
        return self._one().port

    async def alive(self, after_life: int) -> int:
        """Return when any process is up."""
        if after_life >= 0:
            await asyncio.sleep(AGAIN_S)
        while not any(each.up for each in self._vtns):
            await asyncio.sleep(AGAIN_S)
        return self.life

    async def command(self, **what: object) -> Any:
        """Let the operator do something at any process; return the answer.

        Raises:
            Died: if there was none.
        """
        try:
            return await self._one().command(**what)
        except Died:
            await asyncio.sleep(SETTLED_S)
            raise


class Life:
    """One process, which dies as it is told, and is started again.

    Args:
        vtn: The process.
        chance: Says how it dies.
    """

    def __init__(self, vtn: Vtn, chance: random.Random) -> None:
        self.vtn = vtn
        self._chance = chance

    async def live(self) -> None:
        """Start it, and return when it has died."""
        where = self._chance.choice(("before", "inside", "after", "never"))
        await self.vtn.start(where, self._chance.randint(1, 20))
        await self.vtn.end(self._chance.uniform(0.1, 0.6) if where == "never" else None)


async def crowd_day(url: str, *, processes: int, kills: int, seed: int) -> Outcome:
    """Play a day with at least so many kills.

    Raises:
        AssertionError: if anything was lost or doubled, or a peer was answered with an error.
    """
    chance = random.Random(seed)
    ledger = Ledger(vens={each: VenLedger() for each in VENS})
    killed = 0
    with tempfile.TemporaryDirectory() as folder:
        vtns = [Vtn(url, Path(folder), f"operator{number}") for number in range(processes)]
        crowd = Crowd(vtns, random.Random(f"{seed}/ways"))
        homes = [home_of(number, crowd, ledger.vens[ven_id], seed) for number, ven_id in enumerate(VENS)]
        utility = Utility(crowd, ledger, seed)
        try:
            async with asyncio.TaskGroup() as group:
                scripts = (utility.work(), *(each.live() for each in homes))
                actors = [group.create_task(each) for each in scripts]
                while killed < kills:
                    killed += await _round([Life(each, chance) for each in vtns])
                    await compare(url, ledger)
                actors[0].cancel()
                await asyncio.gather(*(each.start("never", 0) for each in vtns))
                async with asyncio.timeout(PATIENCE_S):
                    while ledger.missing():
                        await asyncio.sleep(0.02)
                for actor in actors:
                    actor.cancel()
            await asyncio.gather(*(each.end(0.0) for each in vtns))
            await compare(url, ledger)
        finally:
            for each in vtns:
                await each.close()
    return Outcome(
        kills=killed, facts=ledger.facts(), replays=sum(each.replays for each in ledger.vens.values())
    )


async def _round(lives: list[Life]) -> int:
    """Let processes die and come back, until all are dead; return how often one died."""
    died = 0

    async def one(life: Life, times: int) -> None:
        nonlocal died
        for _ in range(times):
            await life.live()
            died += 1

    await asyncio.gather(*(one(life, KILLS_A_ROUND) for life in lives))
    return died
