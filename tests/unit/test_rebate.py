"""The rebate on local energy, by hand."""

from __future__ import annotations

import math

import pytest

from dso_engine.errors import InvalidSettlement
from dso_engine.rebate import RebateTerms, net_prices, normalised, rebates


def test_the_rebate_follows_the_forecast() -> None:
    terms = RebateTerms(max_millicent=2_000, mean_production=(0.0, 0.5, 2.0, 1.0, 0.0001))
    assert normalised(terms.mean_production) == (0.0, 0.25, 1.0, 0.5, 0.00005)
    assert rebates(terms) == (0, 500, 2_000, 1_000, 0)


def test_net_of_the_rebate_local_energy_is_cheaper_at_noon() -> None:
    terms = RebateTerms(max_millicent=2_000, mean_production=(0.0, 1.0, 0.5))
    assert net_prices((15_000, 15_000, 20_000), terms) == (15_000, 13_000, 19_000)


@pytest.mark.parametrize("production", [(), (0.0, 0.0)])
def test_without_sun_there_is_none(production: tuple[float, ...]) -> None:
    terms = RebateTerms(max_millicent=2_000, mean_production=production)
    assert rebates(terms) == (0,) * len(production)


def test_zero_turns_it_off() -> None:
    assert rebates(RebateTerms(max_millicent=0, mean_production=(1.0, 3.0))) == (0, 0)


@pytest.mark.parametrize("most", [-1, 1.5, True])
def test_a_largest_rebate_that_cannot_be(most: int) -> None:
    with pytest.raises(InvalidSettlement, match="largest rebate"):
        RebateTerms(max_millicent=most, mean_production=(1.0,))


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_forecast_that_cannot_be(value: float) -> None:
    with pytest.raises(InvalidSettlement, match="forecast"):
        RebateTerms(max_millicent=1, mean_production=(1.0, value))


def test_as_many_prices_as_slots() -> None:
    with pytest.raises(InvalidSettlement, match="2 prices for 1"):
        net_prices((1, 2), RebateTerms(max_millicent=1, mean_production=(1.0,)))
