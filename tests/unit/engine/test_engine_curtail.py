"""The bound on exports: water filling by hand, and what must hold for any exports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dso_engine.curtail import corrected_cap_kw, export_cap_kw

EXPORTS = st.lists(st.floats(0.0, 20.0), min_size=1, max_size=12)


def left_kw(exports_kw: list[float], cap_kw: float) -> float:
    return sum(min(e, cap_kw) for e in exports_kw)


@pytest.mark.parametrize(
    ("reduction_kw", "cap_kw"),
    [
        (0.0, 4.0),  # nothing to do: the largest export stays
        (1.0, 3.0),  # only the largest is cut
        (2.0, 2.0),  # down to the second
        (3.0, 1.5),  # both by a half more
        (5.0, 2.0 / 3.0),  # all three: (4 + 2 + 1 - 5) / 3
        (7.0, 0.0),  # all of it
        (70.0, 0.0),
    ],
)
def test_water_filling_by_hand(reduction_kw: float, cap_kw: float) -> None:
    assert export_cap_kw([2.0, 4.0, 1.0, 0.0], reduction_kw) == pytest.approx(cap_kw)


def test_nobody_to_curtail() -> None:
    assert export_cap_kw([], 0.0) == 0.0
    assert export_cap_kw([], 1.0) == 0.0
    assert export_cap_kw([0.0, 0.0], 0.0) == 0.0


@given(exports=EXPORTS, share=st.floats(0.0, 1.0))
def test_the_sum_falls_by_exactly_what_is_asked(exports: list[float], share: float) -> None:
    reduction = share * sum(exports)
    cap = export_cap_kw(exports, reduction)
    assert 0.0 <= cap <= max(exports)
    assert left_kw(exports, cap) == pytest.approx(sum(exports) - reduction, abs=1e-6)


@given(exports=EXPORTS, a=st.floats(0.0, 300.0), b=st.floats(0.0, 300.0))
def test_more_reduction_never_means_a_higher_bound(exports: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert export_cap_kw(exports, high) <= export_cap_kw(exports, low) + 1e-9


@pytest.mark.parametrize(
    ("shortage_kw", "cap_kw"),
    [
        (4.0, 1.0),  # missing: all of it, shared by four
        (-4.0, 2.5),  # too much cut: half of it is given back
        (-0.3, 2.0),  # inside the dead band
        (0.2, 1.95),  # no dead band on the side of the limit
        (40.0, 0.0),
    ],
)
def test_correction_by_the_meter(shortage_kw: float, cap_kw: float) -> None:
    assert corrected_cap_kw(2.0, homes=4, shortage_kw=shortage_kw) == pytest.approx(cap_kw)


def test_correction_without_homes() -> None:
    assert corrected_cap_kw(2.0, homes=0, shortage_kw=4.0) == 2.0
