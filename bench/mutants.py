"""Mutated messages against the VTN's service: no crash, no answer 5xx, memory flat.

Run: ``python -m bench.mutants --count 1000000``. Bodies are ordinary messages of a registered VEN, changed in
one to four places: bytes flipped, cut, doubled, replaced by what hurts parsers, or grafted from another one.
The state a mutant leaves in the SQLite file and in memory is kept for the next. The run fails on an answer of
5xx, and if the process grows by more than 20 MB once a tenth of the run, 20 000 messages at most, is over.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, ServiceName
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    PROVISIONS,
    START,
    Rig,
    draft,
    metadata,
    opted,
    update,
    wanted,
)
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore
from vtn_server.state import PeerIdentity

MOST_GROWTH_MB = 20.0
PEER = PeerIdentity(connection="mutants")
HURTFUL = (
    b"",
    b"<!DOCTYPE x>",
    b"&e;",
    b"<!-- -->",
    b"<?x y?>",
    b"\x00",
    b"\xff\xfe",
    b"]]>",
    b"<a xmlns='urn:x'/>",
    b"-1",
    b"0",
    b"4294967296",
    b"99999999999999999999",
    b"1e999",
    b"NaN",
    b"INF",
    b"PT0S",
    b"P999999999Y",
    b"0000-00-00T00:00:00Z",
    b"9999-12-31T24:00:00Z",
    b"2018-05-16T10:00:00+00:00",
    b"true",
    b"A" * 4000,
    "é\u202e".encode(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    statuses: tuple[tuple[int, int], ...]
    rss_start_mb: float
    rss_end_mb: float

    @property
    def server_errors(self) -> int:
        """Answers of 500 and above."""
        return sum(count for status, count in self.statuses if status >= 500)

    @property
    def growth_mb(self) -> float:
        """By how much the greatest resident size of the process rose after the warm-up."""
        return self.rss_end_mb - self.rss_start_mb

    @property
    def exit_code(self) -> int:
        """1 if anything was answered with 5xx or the process grew by more than MOST_GROWTH_MB, else 0."""
        return 1 if self.server_errors or self.growth_mb > MOST_GROWTH_MB else 0


async def corpus(rig: Rig) -> tuple[tuple[bytes, ServiceName], ...]:
    """Return one body of each kind a VEN sends, with its service; the VEN is registered on the way."""
    await rig.bootstrap(ALICE, (metadata(),))
    (request_id,) = await rig.operator.request_reports(ALICE, [wanted()])
    await rig.accept_reports(ALICE)
    await rig.operator.publish_events([draft("event-1", audience=(ALICE,))])
    sent = await rig.send(m.RequestEvent(request_id="1", ven_id=ALICE), m.DistributeEvent)
    party, report, event, opt = (
        ServiceName.EI_REGISTER_PARTY,
        ServiceName.EI_REPORT,
        ServiceName.EI_EVENT,
        ServiceName.EI_OPT,
    )
    ok = m.EiResponse(code="200", request_id="q")
    away = m.CreateOpt(
        opt_id="o",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=ALICE,
        availability=(m.Period(dtstart=START, duration=Duration(hours=2)),),
        created_date_time=START,
        request_id="q",
        target=m.Target(ven_ids=(ALICE,)),
    )
    messages: tuple[tuple[m.AnyMessage, ServiceName], ...] = (
        (m.Poll(ven_id=ALICE), ServiceName.OADR_POLL),
        (m.QueryRegistration(request_id="q"), party),
        (m.CreatePartyRegistration(request_id="q", ven_name=ALICE, http_pull_model=True), party),
        (m.RequestEvent(request_id="q", ven_id=ALICE, reply_limit=3), event),
        (opted(sent, ALICE), event),
        (m.RegisterReport(request_id="q", reports=(metadata(),), ven_id=ALICE), report),
        (m.RegisteredReport(response=ok, ven_id=ALICE), report),
        (m.CreatedReport(response=ok, pending=(request_id,), ven_id=ALICE), report),
        (update(ALICE, request_id, [1.0] * 10, start=START), report),
        (
            m.CancelReport(request_id="q", report_request_ids=("r",), report_to_follow=True, ven_id=ALICE),
            report,
        ),
        (m.Response(response=ok, ven_id=ALICE), party),
        (away, opt),
        (m.CancelOpt(request_id="q", opt_id="o", ven_id=ALICE), opt),
    )
    return tuple((wire.write(message), service) for message, service in messages)


def mutants(
    bodies: tuple[tuple[bytes, ServiceName], ...], count: int, rng: random.Random
) -> Iterator[tuple[bytes, ServiceName]]:
    """Yield changed bodies."""
    for _ in range(count):
        body, service = rng.choice(bodies)
        changed = bytearray(body)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed) + 1)
            until = min(len(changed), at + rng.choice((1, 1, 2, 8, 40)))
            match rng.randrange(6):
                case 0 if at < len(changed):
                    changed[at] ^= 1 << rng.randrange(8)
                case 1:
                    del changed[at:until]
                case 2:
                    changed[at:at] = changed[at:until]
                case 3:
                    changed[at:until] = rng.choice(HURTFUL)
                case 4:
                    _replace_text(changed, rng)
                case _:
                    other = rng.choice(bodies)[0]
                    start = rng.randrange(len(other))
                    changed[at:at] = other[start : start + rng.randrange(1, 200)]
        yield bytes(changed), rng.choice(tuple(ServiceName)) if rng.random() < 0.1 else service


def _replace_text(body: bytearray, rng: random.Random) -> None:
    """Replace the text of one element, which keeps the document well-formed and often valid."""
    start = body.find(b">", rng.randrange(len(body) + 1)) + 1
    end = body.find(b"<", start)
    if 0 < start <= end:
        body[start:end] = rng.choice(HURTFUL)


async def play(count: int, seed: int) -> Outcome:
    """Send mutants to a VTN with one registered VEN."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlStore(Path(folder) / "vtn.sqlite")
        try:
            return await _play(
                Rig(store, VtnSettings(vtn_id="vtn-1", identity=Identity.CLAIMED)), count, seed
            )
        finally:
            await store.close()


async def _play(rig: Rig, count: int, seed: int) -> Outcome:
    await rig.start([replace(PROVISIONS[1], ven_id=ALICE, ven_name=ALICE)])
    bodies = await corpus(rig)
    statuses: Counter[int] = Counter()
    warm = min(count // 10, 20_000)
    rss_start = _rss_mb()
    for k, (body, service) in enumerate(mutants(bodies, count, random.Random(seed))):
        status, _ = await rig.service.handle(body, PEER, service)
        statuses[status] += 1
        if k == warm:
            rss_start = _rss_mb()
    return Outcome(statuses=tuple(sorted(statuses.items())), rss_start_mb=rss_start, rss_end_mb=_rss_mb())


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main() -> None:
    """Run and print; exit 1 if anything was answered with 5xx, or if memory grew beyond the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    outcome = asyncio.run(play(chosen.count, chosen.seed))
    sys.stdout.write(f"{outcome}\n")
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main()
