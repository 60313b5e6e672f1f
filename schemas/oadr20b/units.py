"""Units of measure: the substitution group of emix:itemBase as one class and one table.

Source: XSD oadr_20b.xsd and oadr_power_20b.xsd, elements that substitute emix:itemBase.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from schemas.oadr20b.enums import SiScale
from schemas.oadr20b.errors import InvalidValue

__all__ = ["EUR_PER_KWH", "WATT", "WATT_HOUR", "Form", "ItemBase", "ItemKind", "PowerAttributes", "form_of"]


class ItemKind(StrEnum):
    """The elements that can stand for emix:itemBase, as ``prefix:name``."""

    CUSTOM_UNIT = "oadr:customUnit"
    CURRENT = "oadr:current"
    CURRENCY = "oadr:currency"
    CURRENCY_PER_KWH = "oadr:currencyPerKWh"
    CURRENCY_PER_KW = "oadr:currencyPerKW"
    CURRENCY_PER_THM = "oadr:currencyPerThm"
    FREQUENCY = "oadr:frequency"
    THERM = "oadr:Therm"
    TEMPERATURE = "oadr:temperature"
    PULSE_COUNT = "oadr:pulseCount"
    VOLTAGE = "power:voltage"
    ENERGY_APPARENT = "power:energyApparent"
    ENERGY_REACTIVE = "power:energyReactive"
    ENERGY_REAL = "power:energyReal"
    POWER_APPARENT = "power:powerApparent"
    POWER_REACTIVE = "power:powerReactive"
    POWER_REAL = "power:powerReal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the schema fixes for one kind: texts where it fixes them, and which further children it has."""

    description: str | None = None
    units: str | None = None
    has_scale: bool = True
    has_attributes: bool = False
    has_pulse_factor: bool = False


_FORMS: Final = {
    ItemKind.CUSTOM_UNIT: Form(),
    ItemKind.CURRENT: Form(description="Current", units="A"),
    ItemKind.CURRENCY: Form(),
    ItemKind.CURRENCY_PER_KWH: Form(),
    ItemKind.CURRENCY_PER_KW: Form(),
    ItemKind.CURRENCY_PER_THM: Form(),
    ItemKind.FREQUENCY: Form(description="Frequency", units="Hz"),
    ItemKind.THERM: Form(description="Therm", units="thm"),
    ItemKind.TEMPERATURE: Form(description="temperature"),
    ItemKind.PULSE_COUNT: Form(
        description="pulse count", units="count", has_scale=False, has_pulse_factor=True
    ),
    ItemKind.VOLTAGE: Form(description="Voltage", units="V"),
    ItemKind.ENERGY_APPARENT: Form(description="ApparentEnergy", units="VAh"),
    ItemKind.ENERGY_REACTIVE: Form(description="ReactiveEnergy", units="VARh"),
    ItemKind.ENERGY_REAL: Form(description="RealEnergy", units="Wh"),
    ItemKind.POWER_APPARENT: Form(description="ApparentPower", units="VA", has_attributes=True),
    ItemKind.POWER_REACTIVE: Form(description="ReactivePower", units="VAR", has_attributes=True),
    ItemKind.POWER_REAL: Form(description="RealPower", has_attributes=True),
}


def form_of(kind: ItemKind) -> Form:
    """Return what the schema fixes for a kind."""
    return _FORMS[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerAttributes:
    """XSD PowerAttributesType."""

    hertz: Decimal
    voltage: Decimal
    ac: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemBase:
    """A unit of measure.

    Raises:
        InvalidValue: if a text the schema fixes differs, or a child that belongs to the kind is missing.
    """

    kind: ItemKind
    description: str
    units: str
    scale: SiScale | None = SiScale.NONE
    attributes: PowerAttributes | None = None
    pulse_factor: float | None = None

    def __post_init__(self) -> None:
        form = _FORMS[self.kind]
        if form.description not in (None, self.description) or form.units not in (None, self.units):
            raise InvalidValue(
                f"{self.kind} is {form.description}/{form.units}, not {self.description}/{self.units}"
            )
        have = (self.scale is not None, self.attributes is not None, self.pulse_factor is not None)
        if have != (form.has_scale, form.has_attributes, form.has_pulse_factor):
            raise InvalidValue(f"{self.kind}: scale, power attributes or pulse factor do not fit")


EUR_PER_KWH: Final = ItemBase(kind=ItemKind.CURRENCY_PER_KWH, description="currencyPerKWh", units="EUR")
WATT_HOUR: Final = ItemBase(kind=ItemKind.ENERGY_REAL, description="RealEnergy", units="Wh")
WATT: Final = ItemBase(
    kind=ItemKind.POWER_REAL,
    description="RealPower",
    units="W",
    attributes=PowerAttributes(hertz=Decimal(50), voltage=Decimal(230), ac=True),
)
