"""The arming state machine, cell by cell and as a story."""

from __future__ import annotations

from math import nan

import pytest

from dso_engine.model import Limits
from dso_engine.trigger import SlotStress, Stress, TriggerState, advance, classify

LIMITS = Limits()
CALM = Stress(v_dev=0.08, i_load=0.5)
BETWEEN = Stress(v_dev=0.087, i_load=0.5)
HIGH_V = Stress(v_dev=0.09, i_load=0.1)
HIGH_I = Stress(v_dev=0.01, i_load=0.70)


@pytest.mark.parametrize(
    ("stresses", "zero", "word"),
    [
        ((CALM, CALM), True, SlotStress.CALM),
        ((CALM, CALM), False, SlotStress.BETWEEN),
        ((CALM, BETWEEN), True, SlotStress.BETWEEN),
        ((Stress(v_dev=0.085, i_load=0.1),), True, SlotStress.BETWEEN),
        ((Stress(v_dev=0.01, i_load=0.65),), True, SlotStress.BETWEEN),
        ((CALM, HIGH_V), True, SlotStress.STRESSED),
        ((HIGH_I, CALM), True, SlotStress.STRESSED),
        ((HIGH_V,), False, SlotStress.STRESSED),
        ((), True, SlotStress.BETWEEN),
    ],
)
def test_words(stresses: tuple[Stress, ...], zero: bool, word: SlotStress) -> None:
    assert classify(stresses, price_was_zero=zero, limits=LIMITS) is word


IDLE, ARMED, COOLING = TriggerState.IDLE, TriggerState.ARMED, TriggerState.COOLING


@pytest.mark.parametrize(
    ("before", "stress", "after"),
    [
        (IDLE, CALM, IDLE),
        (IDLE, BETWEEN, IDLE),
        (IDLE, HIGH_V, ARMED),
        (ARMED, CALM, COOLING),
        (ARMED, BETWEEN, ARMED),
        (ARMED, HIGH_I, ARMED),
        (COOLING, CALM, IDLE),
        (COOLING, BETWEEN, ARMED),
        (COOLING, HIGH_V, ARMED),
    ],
)
def test_table(before: TriggerState, stress: Stress, after: TriggerState) -> None:
    assert advance(before, (stress,), price_was_zero=True, limits=LIMITS) is after


def test_forecast_alone_arms() -> None:
    assert advance(IDLE, (CALM, HIGH_V), price_was_zero=True, limits=LIMITS).armed


def test_a_controlled_slot_never_counts_as_calm() -> None:
    """Limits kept because of the price: armed for ever, until the price itself went back to zero twice."""
    state = ARMED
    for _ in range(5):
        state = advance(state, (CALM, CALM), price_was_zero=False, limits=LIMITS)
        assert state is ARMED
    state = advance(state, (CALM, CALM), price_was_zero=True, limits=LIMITS)
    assert state.armed
    state = advance(state, (CALM, CALM), price_was_zero=False, limits=LIMITS)
    assert state is ARMED, "the count starts again"
    for _ in range(2):
        state = advance(state, (CALM, CALM), price_was_zero=True, limits=LIMITS)
    assert not state.armed


def test_nan_is_no_stress() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        Stress(v_dev=nan, i_load=0.1)
