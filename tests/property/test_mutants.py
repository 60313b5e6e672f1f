"""A bounded run of ``python -m bench.mutants``: no mutated message makes the VTN answer 5xx or grow."""

from __future__ import annotations

import gc
import logging
import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from bench.mutants import MOST_GROWTH_MB, PEER, Outcome, corpus, mutants, play
from schemas.oadr20b.enums import ServiceName
from tests.unit.vtn.rig import ALICE, PROVISIONS, Rig
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore

MOST_BYTES_EACH = 500  # a body alone has more than a thousand


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_mutated_messages_get_an_answer_below_500(seed: int) -> None:
    outcome = await play(4000, seed)
    counts = dict(outcome.statuses)
    assert outcome.server_errors == 0
    assert sum(counts.values()) == 4000
    assert counts[200] > 50  # some still get through to the handlers
    assert counts[406] > 1000


async def test_mutated_messages_leave_nothing_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(
        logging.CRITICAL
    )  # pytest keeps what is logged, and another test may have asked for more
    store = SqlStore(tmp_path / "vtn.sqlite")
    try:
        rig = Rig(store, VtnSettings(vtn_id="vtn-1", identity=Identity.CLAIMED))
        await rig.start([replace(PROVISIONS[1], ven_id=ALICE, ven_name=ALICE)])
        bodies = await corpus(rig)
        rng = random.Random(4)
        await _send(rig, bodies, 1500, rng)  # what is made once and kept: compiled forms, statements, logs
        tracemalloc.start()
        try:
            await _send(rig, bodies, 200, rng)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            await _send(rig, bodies, 1500, rng)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    finally:
        await store.close()
    assert after - before < 1500 * MOST_BYTES_EACH


async def _send(
    rig: Rig, bodies: tuple[tuple[bytes, ServiceName], ...], count: int, rng: random.Random
) -> None:
    for body, service in mutants(bodies, count, rng):
        await rig.service.handle(body, PEER, service)


@pytest.mark.parametrize(
    ("statuses", "end_mb", "code"),
    [
        (((200, 9), (406, 1)), 100.0 + MOST_GROWTH_MB, 0),
        (((200, 9), (406, 1)), 100.5 + MOST_GROWTH_MB, 1),
        (((200, 9), (500, 1)), 100.0, 1),
    ],
)
def test_the_run_fails_on_server_errors_and_on_growth(
    statuses: tuple[tuple[int, int], ...], end_mb: float, code: int
) -> None:
    assert Outcome(statuses=statuses, rss_start_mb=100.0, rss_end_mb=end_mb).exit_code == code
