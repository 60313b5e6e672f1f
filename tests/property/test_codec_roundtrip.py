"""Every message the model can hold survives the wire, and the official schema accepts what we write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.oadr20b import wire
from schemas.oadr20b.codec import MESSAGE_TYPES
from schemas.oadr20b.enums import SiScale
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.units import ItemBase
from schemas.oadr20b.xmltypes import Duration
from tests.property.codec_strategies import durations, item_bases, messages_of


@pytest.mark.parametrize("cls", MESSAGE_TYPES, ids=lambda cls: cls.__name__)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_message_survives_the_wire(cls: type[AnyMessage], data: st.DataObject) -> None:
    message = data.draw(messages_of(cls))
    body = wire.write(message)
    assert wire.read(body) == message  # read validates against the official schema
    assert wire.write(wire.read(body)) == body


@given(duration=durations())
def test_duration_survives_its_text(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration


@given(item=item_bases(), scale=st.none() | st.sampled_from(SiScale))
def test_unit_with_a_scale_that_does_not_fit_is_refused(item: ItemBase, scale: SiScale | None) -> None:
    changed: dict[str, Any] = {
        "kind": item.kind,
        "description": item.description,
        "units": item.units,
        "attributes": item.attributes,
        "pulse_factor": item.pulse_factor,
    }
    if (scale is None) == (item.scale is None):
        assert ItemBase(scale=scale, **changed).scale is scale
    else:
        with pytest.raises(InvalidValue):
            ItemBase(scale=scale, **changed)
