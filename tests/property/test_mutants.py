"""A bounded run of ``python -m bench.mutants``: mutated messages never make the VTN answer 5xx."""

from __future__ import annotations

import pytest

from bench.mutants import play


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_mutated_messages_get_an_answer_below_500(seed: int) -> None:
    outcome = await play(4000, seed)
    counts = dict(outcome.statuses)
    assert outcome.server_errors == 0
    assert sum(counts.values()) == 4000
    assert counts[200] > 50  # some still get through to the handlers
    assert counts[406] > 1000
