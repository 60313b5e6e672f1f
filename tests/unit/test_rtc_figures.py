"""The figures of the real-time price in small: ``python -m bench.rtc`` shows them over 100 seeds."""

from __future__ import annotations

import numpy as np
import pytest

from bench.rtc import figures_of, play_cases
from bench.rtc_street import SLOT_S, Case, Feeder, bound_of, draw_homes
from dso_engine.game import Law
from dso_engine.secant import SecantLaw
from dso_engine.thesis_law import ThesisLaw

SEEDS = 12


@pytest.mark.parametrize("direction", [-1, 1])
def test_ten_steps_in_the_mean_and_fifteen_at_most_with_homes_that_poll(direction: int) -> None:
    found = figures_of(play_cases(SecantLaw(), Case(direction=direction), SEEDS))
    assert found.steps_mean <= 10.0
    assert found.steps_max <= 15
    assert found.residual_p95_kw <= 0.3
    assert found.over_mean_kw <= 0.3, "a price that asks too much is no success"
    assert found.sound == 1.0
    assert found.given_up == 0


@pytest.mark.parametrize("law", [SecantLaw(), ThesisLaw()], ids=["secant", "thesis"])
@pytest.mark.parametrize(
    "case", [Case(silent=0.1, noise=0.02), Case(direction=1, noise=0.02)], ids=["silent", "import"]
)
def test_silent_homes_and_noise_break_no_limit(law: Law, case: Case) -> None:
    """Without silent homes in the import case: a bound they put out of reach has no last resort there."""
    assert figures_of(play_cases(law, case, SEEDS)).sound >= 0.95


@pytest.mark.parametrize(
    "case",
    [Case(missing=0.2), Case(late=0.2), Case(drift=0.05), Case(drift=-0.05)],
    ids=["missing", "late", "sun", "cloud"],
)
def test_missing_readings_late_homes_and_drift_break_no_limit(case: Case) -> None:
    assert figures_of(play_cases(SecantLaw(), case, SEEDS)).sound >= 0.95


def test_readings_that_never_come_leave_the_price_alone() -> None:
    outcomes = [o for slot in play_cases(SecantLaw(), Case(missing=1.0), 2) for o in slot]
    assert all(o.published == 0 for o in outcomes)
    assert any(o.end_violation_kw > 0.3 for o in outcomes), "what the price is for"


def test_no_price_changes_in_the_last_half_minute() -> None:
    case = Case(noise=0.02)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for homes in draw_homes(rng, case):
            feeder = Feeder(
                homes=homes, bounds=bound_of(homes, case, 0.5), case=case, law=SecantLaw(), rng=rng
            )
            feeder.play()
            assert 0 < feeder.published_s < SLOT_S - 30
