"""Replies to bytes: what is encoded when."""

from __future__ import annotations

import pytest

from tests.unit.vtn.rig import START, draft
from vtn_server import event as rules
from vtn_server.decision import Distribution, Listed, ok
from vtn_server.encoder import Encoder
from vtn_server.event_text import EventTexts


def test_an_event_that_was_prepared_is_not_encoded_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    record = rules.publish(draft("e"), START)
    sent = Distribution(
        response=ok(""),
        request_id="1",
        vtn_id="VTN",
        listed=(Listed(record=record, status=rules.status(record, START)),),
        created_at=rules.changed_at(record, START),
    )
    whole = Encoder().encode(sent)
    encoder = Encoder()
    encoder.prepare(record, START)
    with monkeypatch.context() as patch:
        patch.delattr(EventTexts, "of")
        assert encoder.encode(sent) == whole
        with pytest.raises(AttributeError):
            Encoder().encode(sent)
