"""Sleeps that can be cut short, in simulated time, on both sides; a message that overtakes a registration."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from feederloop.clock import SimClock
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from tests.unit.ven.ven_fakes import T0, FakeHome, after, session_of, usual_reply
from ven_client.client import VenClient
from ven_client.nap import Nap as VenNap
from vtn_server.nap import Nap as VtnNap


class Nap(Protocol):
    def wake(self) -> None: ...

    async def until(self, when: datetime) -> None: ...


@pytest.fixture
def clock() -> SimClock:
    return SimClock(T0)


@pytest.fixture(params=["vtn", "ven"])
def nap(request: pytest.FixtureRequest, clock: SimClock) -> Nap:
    return VtnNap(clock, "x") if request.param == "vtn" else VenNap(clock, 4, "x")


async def test_it_sleeps_until_the_instant(clock: SimClock, nap: Nap) -> None:
    woke: list[datetime] = []

    async def sleeper() -> None:
        await nap.until(after(minutes=5))
        woke.append(clock.now())

    clock.spawn(sleeper(), "sleeper")
    await clock.run(after(minutes=10))
    assert woke == [after(minutes=5)]


async def test_a_wake_ends_the_sleep_at_the_present_instant(clock: SimClock, nap: Nap) -> None:
    woke: list[datetime] = []

    async def sleeper() -> None:
        for _ in range(2):
            await nap.until(after(minutes=5))
            woke.append(clock.now())

    async def waker() -> None:
        await clock.sleep_until(after(minutes=1), 0, "waker")
        nap.wake()

    clock.spawn(sleeper(), "sleeper")
    clock.spawn(waker(), "waker")
    await clock.run(after(minutes=10))
    assert woke == [after(minutes=1), after(minutes=5)]


async def test_a_wake_while_awake_ends_the_next_sleep_only(clock: SimClock, nap: Nap) -> None:
    woke: list[datetime] = []

    async def sleeper() -> None:
        nap.wake()
        nap.wake()
        for _ in range(2):
            await nap.until(after(minutes=5))
            woke.append(clock.now())

    clock.spawn(sleeper(), "sleeper")
    await clock.run(after(minutes=10))
    assert woke == [T0, after(minutes=5)]


async def test_a_cancelled_sleeper_lets_time_go_on(clock: SimClock, nap: Nap) -> None:
    task = clock.spawn(nap.until(after(minutes=5)), "sleeper")
    await clock.run(after(minutes=1))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    woke: list[datetime] = []

    async def another() -> None:
        await clock.sleep_until(after(minutes=7), 0, "another")
        woke.append(clock.now())

    clock.spawn(another(), "another")
    await asyncio.wait_for(clock.run(after(minutes=10)), 20)
    assert woke == [after(minutes=7)]


class _Slow:
    """A transport whose reply to a registration waits until somebody has posted to the VEN."""

    def __init__(self) -> None:
        self.client: VenClient
        self.posted: asyncio.Task[m.AnyMessage | None] | None = None

    async def exchange(self, service: ServiceName, message: m.AnyMessage) -> m.AnyMessage:
        if isinstance(message, m.CreatePartyRegistration):
            metadata = m.RegisterReport(request_id="v1", ven_id="ven-1")
            self.posted = asyncio.get_running_loop().create_task(self.client.receive(metadata))
            for _ in range(5):
                await asyncio.sleep(0)
        return usual_reply(message)

    async def close(self) -> None:
        return None


async def test_a_message_that_overtakes_the_reply_to_the_registration(clock: SimClock) -> None:
    home, transport = FakeHome(), _Slow()
    session = session_of(home, push_address="http://home-1.example/")
    client = VenClient(session, transport, home, clock, random.Random(1))
    transport.client = client
    task = clock.spawn(client.run(), "ven")
    await clock.run(T0 + timedelta(seconds=1))
    assert transport.posted is not None
    reply = await transport.posted
    assert isinstance(reply, m.RegisteredReport)
    assert reply.response.code == "200"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
