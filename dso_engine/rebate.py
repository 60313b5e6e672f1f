"""The rebate of chapter 4: local energy is cheaper while the neighbourhood produces much.

Who buys on the local market gets a rebate on the distribution fee, in proportion to the day-ahead forecast of
the mean production of a home, normalised to its highest value of the day. To a buyer it is worth as much as a
lower price, so batteries charge when there is sun.

Two numbers, never one (errata 5): the *bid limit* of the auction is at most the utility's price, gross; the
*cost* a home plans with is its bid less the rebate.

Source: thesis section 4.1 of chapter 4; mechanisms.md 1, errata 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from dso_engine.errors import InvalidSettlement

__all__ = ["RebateTerms", "net_prices", "normalised", "rebates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RebateTerms:
    """The incentive of one day.

    Raises:
        InvalidSettlement: if the largest rebate is no whole number >= 0, or a forecast is negative or not
            finite.
    """

    max_millicent: int
    """r^m, the largest rebate, 1e-5 EUR/kWh; zero pays none."""
    mean_production: tuple[float, ...]
    """Forecast of the mean production of a home per slot, in any unit, made the day before."""

    def __post_init__(self) -> None:
        """Raises InvalidSettlement on unusable terms."""
        if type(self.max_millicent) is not int or self.max_millicent < 0:
            raise InvalidSettlement("the largest rebate must be a whole number, zero or more")
        if any(not isfinite(value) or value < 0.0 for value in self.mean_production):
            raise InvalidSettlement("a forecast of production must be finite and not negative")


def normalised(mean_production: Sequence[float]) -> tuple[float, ...]:
    """The forecast over its highest value, in [0, 1]; zero throughout where nothing is expected.

    Args:
        mean_production: Per slot, any unit, >= 0.
    """
    peak = max(mean_production, default=0.0)
    return tuple(value / peak if peak > 0.0 else 0.0 for value in mean_production)


def rebates(terms: RebateTerms) -> tuple[int, ...]:
    """The rebate of each slot, g_hat * r^m, rounded to 1e-5 EUR/kWh.

    Source: thesis section 4.1 of chapter 4.
    """
    return tuple(round(terms.max_millicent * share) for share in normalised(terms.mean_production))


def net_prices(utility_millicent: Sequence[int], terms: RebateTerms) -> tuple[int, ...]:
    """What local energy may cost before the utility is cheaper, less the rebate: p^u - g_hat * r^m.

    The bid limit stays the gross price p^u; this is the cost a home plans with at that limit.

    Args:
        utility_millicent: p^u per slot, 1e-5 EUR/kWh.
        terms: The incentive, as many slots.

    Raises:
        InvalidSettlement: if the number of slots differs.

    Source: thesis section 4.1 of chapter 4, corrected: see mechanisms.md 1, errata 5.
    """
    if len(utility_millicent) != len(terms.mean_production):
        raise InvalidSettlement(
            f"{len(utility_millicent)} prices for {len(terms.mean_production)} slots of production"
        )
    return tuple(p - r for p, r in zip(utility_millicent, rebates(terms), strict=True))
