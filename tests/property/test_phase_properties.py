"""Phase allocation against brute force, by enumeration and by meeting in the middle."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine import phase as phase_module
from dso_engine.model import Phase
from dso_engine.phase import Allocation, allocate

Case = tuple[tuple[int, int, int], tuple[int, ...], tuple[Phase, ...], int]


@st.composite
def cases(draw: st.DrawFn, most: int, span: int) -> Case:
    """Powers in 0.1 W and mu in (0.1 W)^2; a small span makes many exact ties."""
    power = st.integers(-span, span)
    count = draw(st.integers(0, most))
    base = (draw(power), draw(power), draw(power))
    flows = tuple(draw(st.lists(power, min_size=count, max_size=count)))
    current = tuple(draw(st.lists(st.sampled_from(Phase), min_size=count, max_size=count)))
    return base, flows, current, draw(st.sampled_from([0, 1, 2, span * span // 8, span * span]))


def solve(case: Case) -> Allocation:
    base, flows, current, mu = case
    kw = (base[0] / 1e4, base[1] / 1e4, base[2] / 1e4)
    return allocate(kw, [f / 1e4 for f in flows], current, mu / 1e8)


def exact_rank(case: Case, phases: tuple[Phase, ...]) -> tuple[Fraction, int, tuple[Phase, ...]]:
    base, flows, current, mu = case
    loads = list(base)
    for flow, ph in zip(flows, phases, strict=True):
        loads[ph] += flow
    mean = Fraction(sum(loads), 3)
    operations = sum(p != q for p, q in zip(phases, current, strict=True))
    imbalance = sum(((load - mean) ** 2 for load in loads), Fraction(0))
    return imbalance + mu * operations, operations, phases


def brute(case: Case) -> tuple[Fraction, int, tuple[Phase, ...]]:
    return min(exact_rank(case, phases) for phases in product(Phase, repeat=len(case[1])))


def check(case: Case) -> None:
    result = solve(case)
    cost, operations, phases = brute(case)
    assert result.phases == phases
    assert result.operations == operations
    assert result.cost_kw2 == pytest.approx(float(cost) / 1e8, rel=1e-12, abs=1e-15)
    assert result.imbalance_kw2 == pytest.approx(
        float(cost - case[3] * operations) / 1e8, rel=1e-9, abs=1e-15
    )


@settings(max_examples=60, deadline=None)
@given(st.one_of(cases(most=5, span=3), cases(most=5, span=60_000)))
def test_enumeration_equals_brute_force(case: Case) -> None:
    check(case)


@settings(max_examples=120, deadline=None)
@given(st.one_of(cases(most=5, span=3), cases(most=5, span=60_000), cases(most=4, span=40_000_000)))
def test_meet_in_the_middle_equals_brute_force(case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase_module, "_ENUMERATED", 1)
        if len(case[1]) > 1:
            check(case)


@settings(max_examples=8, deadline=None)
@given(st.one_of(cases(most=7, span=2), cases(most=7, span=60_000)))
def test_both_methods_equal_brute_force_on_seven(case: Case) -> None:
    check(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase_module, "_ENUMERATED", 1)
        if len(case[1]) > 1:
            check(case)


@pytest.mark.parametrize("span", [3, 60_000])
def test_eight_switches_equal_brute_force(span: int) -> None:
    """6,561 allocations each, ranked with exact fractions."""
    generator = np.random.default_rng(span)
    for mu in (0, span * span // 8):
        flows = tuple(int(p) for p in generator.integers(-span, span + 1, 8))
        a, b, c = (int(p) for p in generator.integers(-span, span + 1, 3))
        current = tuple(Phase(int(p)) for p in generator.integers(0, 3, 8))
        check(((a, b, c), flows, current, mu))


@pytest.mark.parametrize("switches", [8, 9, 10, 11])
def test_meet_in_the_middle_equals_enumeration_on_larger_nodes(switches: int) -> None:
    generator = np.random.default_rng(switches)
    for mu_kw2 in (0.0, 0.05, 0.25, 5.0):
        for coarse in (1.0, 0.006):
            flows = [float(round(p / coarse) * coarse) for p in generator.normal(0.0, 2.0, switches)]
            base = [float(round(p / coarse) * coarse) for p in generator.normal(0.0, 3.0, 3)]
            current = [Phase(int(p)) for p in generator.integers(0, 3, switches)]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(phase_module, "_ENUMERATED", 12)
                expected = allocate((base[0], base[1], base[2]), flows, current, mu_kw2)
            assert allocate((base[0], base[1], base[2]), flows, current, mu_kw2) == expected


@settings(max_examples=60, deadline=None)
@given(cases(most=6, span=50_000), st.permutations(list(Phase)))
def test_renaming_the_phases_does_not_change_the_cost(case: Case, renamed: list[Phase]) -> None:
    base, flows, current, mu = case
    other = [0, 0, 0]
    for ph in Phase:
        other[renamed[ph]] = base[ph]
    twin: Case = ((other[0], other[1], other[2]), flows, tuple(renamed[p] for p in current), mu)
    assert solve(twin).cost_kw2 == solve(case).cost_kw2
