"""Checks of opts.

Source: OpenADR 2.0b rules 200, 204, 206, 208, 209.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.rules.base import Finding, Rule, Subject
from schemas.oadr20b.rules.signals import device_class_faults
from schemas.oadr20b.rules.walk import name_of, numbered

__all__ = ["RULES", "bare_period_faults"]

_EXTRAS: Final = (
    ("startafter", "tolerance"),
    ("notification", "x-eiNotification"),
    ("ramp_up", "x-eiRampUp"),
    ("recovery", "x-eiRecovery"),
)


def bare_period_faults(period: m.Period, path: str) -> Iterator[Finding]:
    """Yield what a period has besides its start and its duration."""
    for field, element in _EXTRAS:
        if getattr(period, field) is not None:
            yield f"{path}/properties/{element}", "has no place here"


def _availability(s: Subject) -> Iterator[Finding]:
    if isinstance(s.message, m.CreateOpt):
        for path, period in numbered(s.message.availability or (), "oadrCreateOpt/vavailability/available"):
            yield from bare_period_faults(period, path)


def _opt_id(s: Subject) -> Iterator[Finding]:
    if isinstance(s.message, m.CreateOpt) and not s.message.opt_id:
        yield "oadrCreateOpt/optID", "is empty"


def _one_purpose(s: Subject) -> Iterator[Finding]:
    message = s.message
    if not isinstance(message, m.CreateOpt):
        return
    if message.qualified_event_id is None:
        if not message.availability:
            yield "oadrCreateOpt", "has neither a schedule nor an event"
        return
    if message.availability is not None:
        yield "oadrCreateOpt/vavailability", "has no place in the opt of an event"
    if message.market_context is not None:
        yield "oadrCreateOpt/marketContext", "has no place in the opt of an event"


def _ids(s: Subject) -> Iterator[Finding]:
    if isinstance(s.message, m.CreateOpt | m.CancelOpt):
        for name, value in (("venID", s.message.ven_id), ("optID", s.message.opt_id)):
            if not value:
                yield f"{name_of(s.message)}/{name}", "is empty"


def _device_class(s: Subject) -> Iterator[Finding]:
    if isinstance(s.message, m.CreateOpt):
        yield from device_class_faults(s.message.device_class, "oadrCreateOpt/oadrDeviceClass")


_CREATE: Final = (m.CreateOpt,)

RULES: Final = (
    Rule(number="200", check=_availability, messages=_CREATE),
    Rule(number="204", check=_opt_id, messages=_CREATE),
    Rule(number="206", check=_one_purpose, messages=_CREATE),
    Rule(number="208", check=_ids, messages=(m.CreateOpt, m.CancelOpt)),
    Rule(number="209", check=_device_class, messages=_CREATE),
)
"""The checks of this file, by number."""
