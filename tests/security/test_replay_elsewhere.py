"""A message that one process of a VTN has accepted is replayed at another one, on the same PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from tests.security.attack import verdict
from tests.security.cast import VEN_IDS, make_cast
from tests.security.grounds import process

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


def test_two_processes(tmp_path: Path, postgres_url: str) -> None:
    make_cast(tmp_path)
    with process(tmp_path, "signed", postgres_url) as one:
        created = m.CreatePartyRegistration(request_id="r", ven_name="edith", http_pull_model=True)
        body = one.signed("edith", created)
        assert verdict(one.tap("signed", "edith").post(body, ServiceName.EI_REGISTER_PARTY)) == "200/200"
        with process(tmp_path, "signed", postgres_url) as other:
            poll = one.signed("edith", m.RequestEvent(request_id="e", ven_id=VEN_IDS["edith"]))
            assert verdict(one.tap("signed", "edith").post(poll, ServiceName.EI_EVENT)) == "200/200"
            assert verdict(other.tap("signed", "edith").post(poll, ServiceName.EI_EVENT)) == "403"
            fresh = other.signed("edith", m.RequestEvent(request_id="e", ven_id=VEN_IDS["edith"]))
            assert verdict(other.tap("signed", "edith").post(fresh, ServiceName.EI_EVENT)) == "200/200"
