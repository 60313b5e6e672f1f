"""``kill -9`` while auctions are published and put on record."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from dso_engine.market_record import HourRecord, verify_chain
from feederloop.market_files import read_records
from tests.unit.program import market_child as child

HOURS = 60
ROOT = Path(__file__).parents[3]


def life(folder: Path, answers: int | None) -> None:
    """Let a child hold auctions until it has answered so often, and kill it."""
    words = (sys.executable, "-m", child.__name__, str(folder), str(HOURS))
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.read(-1 if answers is None else answers)
        if answers is not None:
            process.kill()


def sealed(folder: Path) -> list[HourRecord]:
    """All records; each is sound, and so is the chain."""
    found = read_records(sorted((folder / "market").glob("*.json")))
    assert all(each.verdict.sound for each in found)
    records = [each.verdict.record for each in found if each.verdict.record is not None]
    assert verify_chain(records) == ()
    return records


def traded(record: HourRecord) -> dict[str, list[int]]:
    """What each home of a record trades in each slot, Wh, + buys."""
    found: dict[str, list[int]] = {}
    for k, auction in enumerate(record.auctions):
        for side, sign in ((auction.buyers, 1), (auction.sellers, -1)):
            for share in side.shares:
                found.setdefault(share.home, [0] * 6)[k] = sign * share.allotted_wh
    return found


def test_every_hour_that_was_told_is_on_record_as_it_was_told_and_no_other(tmp_path: Path) -> None:
    draw, server = random.Random(7), child.Server(tmp_path / "told")
    for _ in range(3):
        life(tmp_path, draw.randint(1, 10))
        assert 0 <= len(server.told()) - len(sealed(tmp_path)) <= 1, "the last one may wait for the next life"
    life(tmp_path, None)
    told, records = server.told(), sealed(tmp_path)
    assert [each.hour for each in records] == sorted(told)
    assert len(told) == HOURS
    for record in records:
        in_it = {each.home: list(each.volume_wh) for each in told[record.hour] if any(each.volume_wh)}
        assert traded(record) == in_it
        assert [sum(column) for column in zip(*in_it.values(), strict=True)] == [0] * 6
