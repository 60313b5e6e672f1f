"""``kill -9`` in the middle of writing accounts."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from feederloop.dso_ledger import AccountLedger
from tests.unit.program import ledger_child as child

HOURS = 120
ONE_HOUR = timedelta(hours=1)
ROOT = Path(__file__).parents[3]


def life(path: Path, answers: int | None) -> int:
    """Let a child settle until it has answered so often, and kill it; return how many answers came in all."""
    words = (sys.executable, "-m", child.__name__, str(path), str(HOURS))
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        said = process.stdout.read(-1 if answers is None else answers)
        if answers is not None:
            process.kill()
            said += process.stdout.read()
    return len(said)


def test_every_hour_that_was_answered_is_there_and_none_in_part_or_twice(tmp_path: Path) -> None:
    path, draw, answered = tmp_path / "accounts.sqlite", random.Random(5), 0
    for _ in range(4):
        answered += life(path, draw.randint(1, 18))
        with closing(AccountLedger.of(path)) as ledger:
            missing = ledger.unsettled(child.FIRST + HOURS * ONE_HOUR)
            whole = HOURS - len(missing)
            assert answered <= whole <= answered + 4, "at most one hour a life was done and not answered"
            found = ledger.statements(child.FIRST, child.FIRST + HOURS * ONE_HOUR, corrected=False)
            assert len(found) == whole * 6 * len(child.HOMES)
            assert len(ledger.open_hours()) == whole
            last = child.FIRST + (whole - 1) * ONE_HOUR
            assert ledger.stated(last).accounts == child.of(last)
    life(path, None)
    with closing(AccountLedger.of(path)) as ledger:
        assert ledger.unsettled(child.FIRST + HOURS * ONE_HOUR) == ()
        found = ledger.statements(child.FIRST, child.FIRST + HOURS * ONE_HOUR, corrected=False)
        assert len({(s.slot, s.home) for s in found}) == len(found) == HOURS * 6 * len(child.HOMES)
