"""A supplier's tariff as the engine counts it."""

from __future__ import annotations

from config.settings import Tariff
from dso_engine.hourly import TariffMillicent
from dso_engine.model import MILLICENT_PER_EUR

__all__ = ["tariff_in"]


def tariff_in(tariff: Tariff, local_hour: int) -> TariffMillicent:
    """Return a tariff's prices in an hour of the day, 1e-5 EUR/kWh."""
    return TariffMillicent(
        supplier=round(tariff.supplier_at(local_hour) * MILLICENT_PER_EUR),
        feed_in=round(tariff.feed_in * MILLICENT_PER_EUR),
    )
