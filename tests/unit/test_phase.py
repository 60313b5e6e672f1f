"""Phase allocation: hand-computed cases, checks and the choice of homes."""

from __future__ import annotations

import pytest

from dso_engine.errors import EngineError, InvalidAllocation
from dso_engine.model import HomeId, Phase
from dso_engine.phase import MAX_SWITCHES, HomeFlow, allocate, choose_highest_average_flow

A, B, C = Phase


def test_no_switch_gives_the_base_imbalance() -> None:
    # (6, 0, 0): mean 2, J = 16 + 4 + 4.
    result = allocate((6.0, 0.0, 0.0), (), (), 0.25)
    assert result.phases == ()
    assert result.imbalance_kw2 == pytest.approx(24.0)
    assert result.cost_kw2 == pytest.approx(24.0)
    assert result.operations == 0


def test_one_home_moves_where_it_balances() -> None:
    # Base (3, 0, 3), one home of 3 kW on A: on B all phases carry 3.
    result = allocate((3.0, 0.0, 3.0), (3.0,), (A,), 0.25)
    assert result.phases == (B,)
    assert result.operations == 1
    assert result.imbalance_kw2 == pytest.approx(0.0)
    assert result.cost_kw2 == pytest.approx(0.25)


def test_export_goes_to_the_loaded_phase() -> None:
    result = allocate((1.0, 1.0, 5.0), (-4.0,), (A,), 0.25)
    assert result.phases == (C,)
    assert result.imbalance_kw2 == pytest.approx(0.0)


def test_an_operation_that_gains_less_than_mu_is_not_made() -> None:
    # On A: (1.2, 0, 0), J = 0.96; on B or C: (0.2, 1, 0), J = 0.56: the operation gains 0.4.
    assert allocate((0.2, 0.0, 0.0), (1.0,), (A,), 0.39).phases == (B,)
    stay = allocate((0.2, 0.0, 0.0), (1.0,), (A,), 0.41)
    assert stay.phases == (A,)
    assert stay.cost_kw2 == pytest.approx(0.96)
    # Exactly equal cost: fewest operations.
    assert allocate((0.2, 0.0, 0.0), (1.0,), (A,), 0.40).phases == (A,)


def test_ties_prefer_fewest_operations_then_lexicographic() -> None:
    # Three equal homes balance in any permutation; the current one needs no operation.
    assert allocate((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (C, A, B), 0.0).phases == (C, A, B)
    # All on A: two must move, six ways; lexicographic leaves the first two in front.
    result = allocate((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (A, A, A), 0.0)
    assert result.phases == (A, B, C)
    assert result.operations == 2


@pytest.mark.parametrize("switches", [7, 8, 12, 18])
def test_idle_homes_are_left_alone(switches: int) -> None:
    current = tuple(Phase(i % 3) for i in range(switches))
    result = allocate((1.0, 2.0, 3.0), (0.0,) * switches, current, 0.0)
    assert result.phases == current
    assert result.operations == 0


def test_sixteen_homes_that_can_balance_exactly_do() -> None:
    # Fifteen equal homes on B and an idle one: five per phase, ten operations, the first five to A.
    result = allocate((0.0, 0.0, 0.0), (1.5,) * 15 + (0.0,), (B,) * 16, 0.001)
    assert result.imbalance_kw2 == 0.0
    assert result.operations == 10
    assert result.cost_kw2 == pytest.approx(0.01)
    assert result.phases == (A,) * 5 + (B,) * 5 + (C,) * 5 + (B,)


def test_powers_beyond_float_precision_of_the_squares_are_exact() -> None:
    # Squares of 40 MW in 0.1 W exceed 2**53; the 0.1 W home decides between phases that differ by 0.1 W.
    base = (9_999.9999, 10_000.0, 10_000.0)
    flows = (0.0001,) + (0.0,) * 8
    assert allocate(base, flows, (C,) * 9, 0.0).phases == (A,) + (C,) * 8


@pytest.mark.parametrize(
    ("base", "flows", "current", "mu"),
    [
        ((0.0, 0.0, 0.0), (1.0,), (), 0.0),
        ((0.0, 0.0, float("nan")), (1.0,), (A,), 0.0),
        ((0.0, 0.0, 0.0), (float("inf"),), (A,), 0.0),
        ((0.0, 0.0, 0.0), (50_001.0,), (A,), 0.0),
        ((0.0, 0.0, 0.0), (1.0,), (A,), -0.1),
        ((0.0, 0.0, 0.0), (1.0,), (A,), float("nan")),
        ((0.0, 0.0, 0.0), (1.0,) * (MAX_SWITCHES + 1), (A,) * (MAX_SWITCHES + 1), 0.0),
    ],
)
def test_unusable_input_is_a_typed_error(
    base: tuple[float, float, float], flows: tuple[float, ...], current: tuple[Phase, ...], mu: float
) -> None:
    with pytest.raises(InvalidAllocation) as caught:
        allocate(base, flows, current, mu)
    assert isinstance(caught.value, EngineError)
    assert isinstance(caught.value, ValueError)


def flow(home: str, feeder: int, kw: float) -> HomeFlow:
    return HomeFlow(home=HomeId(home), feeder=feeder, mean_abs_flow_kw=kw)


HOMES = (flow("a", 1, 5.0), flow("b", 1, 4.0), flow("c", 1, 3.0), flow("d", 2, 2.0), flow("e", 2, 1.0))


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (0, ()),
        (1, ("a",)),
        (2, ("a", "d")),
        (3, ("a", "d", "b")),
        (4, ("a", "d", "b", "e")),
        (5, ("a", "d", "b", "e", "c")),
    ],
)
def test_choice_takes_turns_between_feeders(count: int, chosen: tuple[str, ...]) -> None:
    assert choose_highest_average_flow(HOMES, count) == chosen
    assert choose_highest_average_flow(HOMES[::-1], count) == chosen


def test_choice_ties_go_by_id() -> None:
    homes = (flow("z", 1, 1.0), flow("y", 1, 1.0), flow("x", 2, 1.0))
    assert choose_highest_average_flow(homes, 3) == ("x", "y", "z")


@pytest.mark.parametrize(
    ("homes", "count"),
    [
        (HOMES, 6),
        (HOMES, -1),
        ((flow("a", 1, 1.0), flow("a", 2, 1.0)), 1),
        ((flow("a", 1, -1.0),), 1),
        ((flow("a", 1, float("nan")),), 1),
    ],
)
def test_choice_refuses_bad_input(homes: tuple[HomeFlow, ...], count: int) -> None:
    with pytest.raises(InvalidAllocation):
        choose_highest_average_flow(homes, count)
