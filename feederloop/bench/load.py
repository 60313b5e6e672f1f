"""The load: VENs with a kept-alive connection each, prebuilt messages, and what came back."""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import aiohttp

from certs.tls import ClientTls
from certs.xmldsig import Signer
from feederloop.bench import messages
from feederloop.bench.replies import Expected, fault
from schemas.oadr20b import wire
from schemas.oadr20b.codec import encode_message
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.model import (
    AnyMessage,
    CreatedPartyRegistration,
    CreateReport,
    DistributeEvent,
    Poll,
    RegisteredReport,
    RegisterReport,
)
from schemas.oadr20b.simple_http import CONTENT_TYPE, PATH
from vtn_server.dispatch import TABLE

__all__ = ["BenchError", "BenchVen", "Measured", "Order", "ProcessClock", "Refused", "fire"]

_HEADERS: Final = {"Content-Type": CONTENT_TYPE, "Accept-Encoding": "identity"}
"""No compression: openleadr has none, and the same work is asked of everybody."""
_PATIENCE: Final = aiohttp.ClientTimeout(total=120)
_BEFOREHAND: Final = aiohttp.ClientTimeout(total=30)
"""For what is sent outside of a measurement: nothing else is under way then."""
_MOST_ITEMS: Final = 50


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


class Refused(BenchError):
    """The VTN answered with another response code than 200.

    Args:
        text: What was refused, and why.
        code: The response code.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class ProcessClock:
    """The CPU time of a process, or of several together, all their threads, to the nanosecond.

    Args:
        pids: The processes; they must be on this machine.

    Raises:
        BenchError: if its time cannot be read.

    Source: clock_getcpuclockid(3): a process clock is its pid, inverted, shifted by three, with 2 for what
    the scheduler counts.
    """

    def __init__(self, *pids: int) -> None:
        self._clocks = tuple((~pid << 3) | 2 for pid in pids)
        for pid, clock in zip(pids, self._clocks, strict=True):
            try:
                time.clock_gettime(clock)
            except OSError as err:
                reason = "there is none" if err.errno == errno.EINVAL else err
                raise BenchError(f"the CPU time of process {pid} cannot be read: {reason}") from err

    def now_s(self) -> float:
        """Return the CPU time since they began, s.

        Raises:
            BenchError: if one has ended.
        """
        try:
            return sum(map(time.clock_gettime, self._clocks))
        except OSError as err:
            raise BenchError("the process that is measured has ended") from err


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A message ready to be sent, and what must come back."""

    path: str
    body: bytes
    expected: Expected


@dataclass(slots=True, kw_only=True)
class BenchVen:
    """One VEN of the load, with its connection.

    Attributes:
        name: Its venName.
        url: The base address of the VTN.
        signer: Signs its messages; None for none.
        ven_id: As the VTN calls it, once it is registered.
        requests: What reports the VTN wants: the reportRequestIDs.
        minute: Where its next report begins.
    """

    name: str
    url: str
    signer: Signer | None
    http: aiohttp.ClientSession
    ven_id: str = ""
    requests: list[str] = field(default_factory=list)
    minute: int = 0

    @classmethod
    def connect(cls, name: str, url: str, tls: ClientTls | None, signer: Signer | None) -> BenchVen:
        """Return a VEN that keeps one connection."""
        connector = aiohttp.TCPConnector(
            limit=1, keepalive_timeout=600, ssl=True if tls is None else tls.context
        )
        http = aiohttp.ClientSession(connector=connector, headers=_HEADERS, timeout=_PATIENCE)
        return cls(name=name, url=url, signer=signer, http=http)

    def order(self, message: AnyMessage, expected: Expected) -> Order:
        """Return a message as it goes over the wire; a signed one is good for one sending."""
        return Order(path=self._path(message), body=self._body(message), expected=expected)

    def _path(self, message: AnyMessage) -> str:
        return f"{self.url}{PATH}{TABLE[type(message)].services[0]}"

    def _body(self, message: AnyMessage) -> bytes:
        payload = encode_message(message)
        if self.signer is not None:
            self.signer.sign(payload, datetime.now(UTC), secrets.token_hex(16))
        return wire.serialise(payload)

    async def send(self, message: AnyMessage) -> AnyMessage:
        """Send a message outside of any measurement; return the answer.

        Raises:
            BenchError: if there is none, or it says that something went wrong.
        """
        what = f"{self.name}: {type(message).__name__}"
        try:
            async with self.http.post(
                self._path(message), data=self._body(message), timeout=_BEFOREHAND
            ) as answer:
                status, body = answer.status, await answer.read()
        except TimeoutError as err:
            raise BenchError(f"{self.url} does not answer: {what} waits for {_BEFOREHAND.total} s") from err
        except aiohttp.ClientError as err:
            raise BenchError(f"{self.url} cannot be reached: {err}") from err
        if status != 200:
            shown = f": {body[:200].decode(errors='replace')}" if body else "; its log may have the reason"
            raise BenchError(f"{what} was answered with HTTP status {status}{shown}")
        try:
            reply = wire.read(body)
        except WireError as err:
            raise BenchError(f"{self.url} is no VTN of profile 2.0b: {what} was answered with {err}") from err
        response = getattr(reply, "response", None)
        if response is not None and response.code != "200":
            said = f" ({response.description})" if response.description else ""
            raise Refused(f"{what} was refused with {response.code}{said}", response.code)
        return reply

    async def join(self) -> None:
        """Register, announce the meter, and fetch what waits (section 1.4 of the standard).

        Raises:
            BenchError: if the VTN does not go along.
        """
        reply = await self.send(messages.registration(self.name, signed=self.signer is not None))
        if not isinstance(reply, CreatedPartyRegistration) or reply.ven_id is None:
            raise BenchError(f"{self.name} could not register: {reply}")
        self.ven_id = reply.ven_id
        await self.announce()

    async def announce(self) -> None:
        """Announce the meter, and fetch what waits.

        Raises:
            BenchError: if the VTN does not go along.
        """
        self.requests = []
        registered = await self.send(messages.metadata(self.ven_id))
        if isinstance(registered, RegisteredReport) and registered.requests:
            self.requests = [each.report_request_id for each in registered.requests]
            asked = CreateReport(request_id="", requests=registered.requests)
            await self.send(messages.created_report(asked, self.ven_id, self.requests))
        await self.drain()

    async def drain(self) -> None:
        """Poll, and answer what comes, until nothing does.

        Raises:
            BenchError: if that never happens.
        """
        for _ in range(_MOST_ITEMS):
            item = await self.send(Poll(ven_id=self.ven_id))
            if isinstance(item, RegisterReport):
                answer: AnyMessage | None = RegisteredReport(
                    response=messages.said(item.request_id), ven_id=self.ven_id
                )
            elif isinstance(item, CreateReport):
                self.requests += [each.report_request_id for each in item.requests]
                answer = messages.created_report(item, self.ven_id, self.requests)
            elif isinstance(item, DistributeEvent):
                answer = messages.answer_to(item, self.ven_id)
            else:
                return
            if answer is not None:
                await self.send(answer)
        raise BenchError(f"{self.name} polled {_MOST_ITEMS} times, and there was always more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the sending of some messages came to.

    Attributes:
        cpu_s: CPU time the server took for all of them; None where it cannot be read.
        bodies: The replies, by VEN.
    """

    cpu_s: float | None
    seconds: float
    latencies_ms: tuple[float, ...]
    bodies: tuple[tuple[bytes, ...], ...]


async def fire(
    vens: Sequence[BenchVen], orders: Sequence[Sequence[Order]], clock: ProcessClock | None
) -> Measured:
    """Send the messages of all VENs at once, those of one VEN one after another; check every reply.

    Args:
        vens: Who sends.
        orders: What each of them sends.
        clock: That of the server.

    Raises:
        BenchError: with the first reply that is not what it should be.
    """
    began_s, cpu_s = time.perf_counter(), None if clock is None else clock.now_s()
    work = [_send_all(ven, mine) for ven, mine in zip(vens, orders, strict=True)]
    try:
        found = await asyncio.gather(*work)
    except (aiohttp.ClientError, TimeoutError) as err:
        raise BenchError(f"{vens[0].url}: {err or type(err).__name__}") from err
    seconds = time.perf_counter() - began_s
    used_s = None if clock is None or cpu_s is None else clock.now_s() - cpu_s
    for mine, replies in zip(orders, found, strict=True):
        for order, (_, status, body) in zip(mine, replies, strict=True):
            if wrong := fault(order.expected, status, body):
                raise BenchError(f"{order.expected.kind} of {order.expected.ven_id}: {wrong}")
    return Measured(
        cpu_s=used_s,
        seconds=seconds,
        latencies_ms=tuple(took for replies in found for took, _, _ in replies),
        bodies=tuple(tuple(body for _, _, body in replies) for replies in found),
    )


async def _send_all(ven: BenchVen, orders: Sequence[Order]) -> list[tuple[float, int, bytes]]:
    replies = []
    for order in orders:
        began_s = time.perf_counter()
        async with ven.http.post(order.path, data=order.body) as answer:
            body = await answer.read()
        replies.append((1e3 * (time.perf_counter() - began_s), answer.status, body))
    return replies
