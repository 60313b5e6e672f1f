"""A forecast with an error that a seed draws. Pure: seed and size of the error are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ven_client.forecast import Forecaster
from ven_client.slots import SLOT

__all__ = ["Noisy", "noise_factors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noisy:
    """A forecast with a seeded error on top: the same question always gets the same answer.

    Attributes:
        of: The forecast without the error.
        seed: Of this home.
        sigma: Standard deviation of the error, relative, >= 0.

    Source: mechanisms.md 12, forecast in the market.
    """

    of: Forecaster
    seed: int
    sigma: float

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected consumption in a slot, kWh."""
        return self.of.load_kwh(slot, now) * noise_factors(self.seed, slot, self.sigma)[0]

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected production in a slot, kWh."""
        expected = self.of.pv_kwh(slot, now)
        return expected * noise_factors(self.seed, slot, self.sigma)[1] if expected else 0.0


def noise_factors(seed: int, slot: datetime, sigma: float) -> tuple[float, float]:
    """Return the factors of a forecast error for load and production; neither is below 0.

    They depend on seed and slot only, whoever asks, how often and in which order.

    Args:
        seed: Of a home.
        slot: Start of the slot.
        sigma: Standard deviation, relative.
    """
    rng = np.random.default_rng([seed, int(slot.timestamp()) // int(SLOT.total_seconds())])
    load, pv = 1.0 + sigma * rng.standard_normal(2)
    return max(0.0, float(load)), max(0.0, float(pv))
