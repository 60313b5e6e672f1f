"""A tariff as programs are told of it: the three kinds of a neighbourhood's, chosen by name.

What a program works with is :class:`config.settings.Tariff`, the same as in ``neighbourhood.toml``. There the
kind follows from what is given; here it is named, because each value has a default and none can be unset.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from config.program import Section
from config.settings import Tariff

__all__ = ["MOST_EUR_PER_KWH", "TariffChoice"]

MOST_EUR_PER_KWH: Final = 10_000.0
"""As high as a price of the market may be; what is beyond is a slip of the pen."""
Price = Annotated[float, Field(ge=-MOST_EUR_PER_KWH, le=MOST_EUR_PER_KWH)]
Positive = Annotated[float, Field(gt=0, le=MOST_EUR_PER_KWH)]
NotNegative = Annotated[float, Field(ge=0, le=MOST_EUR_PER_KWH)]
Hour = Annotated[int, Field(ge=0, le=24)]


class TariffChoice(Section):
    """Supplier's and feed-in price, EUR/kWh, by local hour.

    ``flat`` uses ``supplier`` alone, ``time_of_use`` the peak as well, ``dynamic`` the 24 prices of
    ``hourly``. What a kind does not use is left aside.
    """

    kind: Literal["flat", "time_of_use", "dynamic"] = "time_of_use"
    supplier: Positive = 0.15
    supplier_peak: Positive = 0.20
    peak_from_hour: Hour = 17
    peak_to_hour: Hour = 23
    hourly: tuple[Price, ...] = ()
    feed_in: NotNegative = 0.10

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "time_of_use" and self.peak_from_hour == self.peak_to_hour:
            raise ValueError("a peak of no hour: peak_to_hour must lie after peak_from_hour, or kind is flat")
        if self.kind == "dynamic" and len(self.hourly) != 24:
            raise ValueError(f"a dynamic tariff needs hourly: 24 prices, not {len(self.hourly)}")
        try:
            self.tariff()
        except ValidationError as err:
            faults = err.errors(include_url=False, include_input=False)
            raise ValueError("; ".join(each["msg"].removeprefix("Value error, ") for each in faults)) from err
        return self

    def tariff(self) -> Tariff:
        """Return the tariff that is chosen, as a neighbourhood has it."""
        if self.kind == "dynamic":
            return Tariff(supplier=self.supplier, hourly=self.hourly, feed_in=self.feed_in)
        if self.kind == "flat":
            return Tariff(supplier=self.supplier, feed_in=self.feed_in)
        return Tariff(
            supplier=self.supplier,
            supplier_peak=self.supplier_peak,
            peak_from_hour=self.peak_from_hour,
            peak_to_hour=self.peak_to_hour,
            feed_in=self.feed_in,
        )
