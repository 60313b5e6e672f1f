"""What the models of the operator API are made of: base, texts, errors, signals."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from schemas.oadr20b.enums import SignalType, SiScale
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.units import ItemKind
from schemas.oadr20b.xmltypes import Duration, format_datetime

__all__ = [
    "BaselineModel",
    "ErrorOut",
    "Fault",
    "IntervalModel",
    "IsoText",
    "Model",
    "Moment",
    "Name",
    "Number",
    "Remark",
    "SignalModel",
    "SignedIsoText",
    "TargetModel",
    "UnitModel",
]


_UNWRITABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


def _iso(text: str) -> str:
    try:
        Duration.parse(text)
    except InvalidValue as err:
        raise ValueError("not an ISO 8601 duration such as PT10M") from err
    return text


def _not_negative(text: str) -> str:
    if Duration.parse(text).negative:
        raise ValueError("a negative duration")
    return text


def _clean(text: str) -> str:
    if _UNWRITABLE.search(text) is not None:
        raise ValueError("a control character, which no message can carry")
    return text


def _utc(when: datetime) -> datetime:
    try:
        return when.astimezone(UTC)
    except OverflowError as err:
        raise ValueError("outside the calendar in UTC") from err


SignedIsoText = Annotated[
    str, Field(max_length=60), AfterValidator(_iso), Field(json_schema_extra={"format": "duration"})
]
"""A duration that may be negative."""
IsoText = Annotated[SignedIsoText, AfterValidator(_not_negative)]
Moment = Annotated[
    AwareDatetime, AfterValidator(_utc), PlainSerializer(format_datetime, return_type=str, when_used="json")
]
Name = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_clean)]
Remark = Annotated[str, Field(max_length=4000), AfterValidator(_clean)]
Fingerprint = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:){9}[0-9A-Fa-f]{2}$")]
"""The OpenADR fingerprint of a certificate."""
Number = Annotated[float, Field(allow_inf_nan=False)]


class Model(BaseModel):
    """Base of all that goes over the API: what is unknown is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- errors ------------------------------------------------------------------------------------------------


class Fault(Model):
    """One thing that is wrong with a request: where, and what."""

    where: str
    text: str


class ErrorOut(Model):
    """Why a request was not served."""

    code: Annotated[str, Field(description="unauthorized, not-found, invalid-request, conflict, ...")]
    text: str
    oadr_code: Annotated[str | None, Field(description="The OpenADR code of the rule that is broken.")] = None
    faults: tuple[Fault, ...] = ()


# --- parts of an event -------------------------------------------------------------------------------------


class UnitModel(Model):
    """A unit of measure; what the schema fixes for a kind may be left out."""

    kind: ItemKind
    units: Annotated[Name | None, Field(description="Such as W, Wh, EUR.")] = None
    description: Name | None = None
    scale: SiScale | None = None
    hertz: Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,3})?$", description="Powers only.")] = "50"
    voltage: Annotated[str, Field(pattern=r"^\d{1,7}(\.\d{1,3})?$", description="Powers only.")] = "230"
    ac: Annotated[bool, Field(description="Powers only.")] = True
    pulse_factor: Annotated[Number | None, Field(description="Pulse counts only.")] = None


class IntervalModel(Model):
    """One value of a signal."""

    duration: IsoText
    value: Number


class SignalModel(Model):
    """A signal of an event."""

    name: Annotated[Name, Field(description="Such as SIMPLE, ELECTRICITY_PRICE, LOAD_DISPATCH, x-OWN.")]
    type: SignalType
    id: Name = "signal"
    unit: UnitModel | None = None
    intervals: Annotated[tuple[IntervalModel, ...], Field(min_length=1, max_length=10_000)]
    device_classes: Annotated[
        tuple[Name, ...], Field(description="endDeviceAsset classes the signal is for; empty: all.")
    ] = ()


class BaselineModel(Model):
    """What is expected of the VENs without the event (eiEventBaseline)."""

    id: Name = "baseline"
    name: Name
    start: Annotated[Moment | None, Field(description="The event's if left out; whole seconds.")] = None
    unit: UnitModel | None = None
    intervals: Annotated[tuple[IntervalModel, ...], Field(min_length=1, max_length=10_000)]
    resource_ids: Annotated[
        tuple[Name, ...], Field(description="The resources it is the sum of; empty: all.")
    ] = ()


class TargetModel(Model):
    """The eiTarget of an event; entries are alternatives, empty is the VEN with all behind it."""

    ven_ids: tuple[Name, ...] = ()
    group_ids: tuple[Name, ...] = ()
    group_names: tuple[Name, ...] = ()
    resource_ids: tuple[Name, ...] = ()
    party_ids: tuple[Name, ...] = ()
    end_device_assets: tuple[Name, ...] = ()
    meter_assets: tuple[Name, ...] = ()
    pnodes: tuple[Name, ...] = ()
    aggregated_pnodes: tuple[Name, ...] = ()
    service_delivery_points: tuple[Name, ...] = ()
