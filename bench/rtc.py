"""Both laws of the real-time price against homes that poll every 10 to 15 s: steps, residuals, limits.

Run: ``python -m bench.rtc [--seeds 100]``. One row per law and case; each seed is one slot of fifty homes
behind six PCCs. See `bench.rtc_street` for what is played; nothing is sent over HTTP.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.rtc_street import Case, Outcome, play_slot
from dso_engine.game import Law
from dso_engine.secant import SecantLaw
from dso_engine.thesis_law import ThesisLaw

__all__ = ["CASES", "LAWS", "Figures", "figures_of", "play_cases"]

LAWS: Final[tuple[tuple[str, Law], ...]] = (("secant", SecantLaw()), ("thesis", ThesisLaw()))
CASES: Final[tuple[tuple[str, Case], ...]] = (
    ("export", Case()),
    ("import", Case(direction=1)),
    ("10 % silent", Case(silent=0.1)),
    ("2 % noise", Case(noise=0.02)),
    ("10 % silent, 2 % noise", Case(silent=0.1, noise=0.02)),
    ("20 % of readings missing", Case(missing=0.2)),
    ("20 % of homes join late", Case(late=0.2)),
    ("5 % more sun in the slot", Case(drift=0.05)),
)
_TOO_LATE: Final = 60
"""Counted where the flow was still outside at the end: a slot has room for fewer steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one law did in one case.

    Attributes:
        steps_mean: Steps of the slowest PCC of a slot that the price alone could help, mean over slots.
        steps_max: The slowest of all.
        residual_p95_kw: Violation of the bound by the mean flow of the slot, 95 % of all PCCs.
        over_mean_kw: How much a price moved more than it had to, mean over PCCs.
        sound: Share of slots that end with no limit broken beyond the guard band at any PCC.
        given_up: PCCs where the price was not enough and exports were bounded.
        published: Prices published per PCC and slot.
    """

    steps_mean: float
    steps_max: int
    residual_p95_kw: float
    over_mean_kw: float
    sound: float
    given_up: int
    published: float


def play_cases(law: Law, case: Case, seeds: int) -> tuple[tuple[Outcome, ...], ...]:
    """Play one slot per seed; outcomes per slot and PCC."""
    return tuple(play_slot(law, seed, case) for seed in range(seeds))


def figures_of(slots: Sequence[Sequence[Outcome]]) -> Figures:
    """Return the figures of some slots."""
    steps = [
        max(
            (_TOO_LATE if o.steps_within is None else o.steps_within for o in slot if not o.saturated),
            default=0,
        )
        for slot in slots
    ]
    flat = [outcome for slot in slots for outcome in slot]
    return Figures(
        steps_mean=float(np.mean(steps)),
        steps_max=max(steps),
        residual_p95_kw=float(np.percentile([o.end_violation_kw for o in flat], 95)),
        over_mean_kw=float(np.mean([o.over_kw for o in flat])),
        sound=float(np.mean([not any(o.beyond_limit for o in slot) for slot in slots])),
        given_up=sum(o.saturated for o in flat),
        published=float(np.mean([o.published for o in flat])),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = parser.parse_args().seeds
    sys.stdout.write(
        f"{seeds} slots of 50 homes behind 6 PCCs; steps: until every PCC stays within 0.3 kW of its bound\n"
        f"{'law':<8}{'case':<27}{'steps mean':>10}{'max':>5}{'residual p95':>14}{'over mean':>11}"
        f"{'sound slots':>13}{'given up':>10}{'prices':>8}\n"
    )
    for name, law in LAWS:
        for label, case in CASES:
            found = figures_of(play_cases(law, case, seeds))
            most = f">{found.steps_max - 1}" if found.steps_max == _TOO_LATE else str(found.steps_max)
            sys.stdout.write(
                f"{name:<8}{label:<27}{found.steps_mean:10.1f}{most:>5}{found.residual_p95_kw:11.2f} kW"
                f"{found.over_mean_kw:8.2f} kW{100.0 * found.sound:11.0f} %{found.given_up:10}"
                f"{found.published:8.1f}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
