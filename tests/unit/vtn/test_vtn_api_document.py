"""The OpenAPI document: committed, served, complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from tests.unit.vtn.rig import Rig
from vtn_server.api import OPENAPI, application
from vtn_server.api_desk import Desk
from vtn_server.api_openapi import document, document_text
from vtn_server.api_routes import METRICS, PREFIX, TABLE
from vtn_server.http import VERSION

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_committed_document_is_current() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert text == document_text(VERSION), "renew it: feederloop operator openapi > docs/openapi.json"


async def test_it_is_served_to_everybody(rig: Rig) -> None:
    desk = Desk(operator=rig.operator, now=lambda: rig.now, new_id=lambda: "x", vtn_id="v", version=VERSION)
    async with TestClient(TestServer(application(desk, "some token"))) as client:
        response = await client.get(OPENAPI)
        assert response.status == 200
        assert await response.text() == document_text(VERSION)
        served = {
            (route.method, route.resource.canonical)
            for route in client.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
    described = {
        (method.upper(), path) for path, methods in document("1")["paths"].items() for method in methods
    }
    routes = {(each.method, PREFIX + each.path) for each in TABLE}
    assert served - {("GET", OPENAPI)} == described == routes | {("GET", METRICS)}


def test_operations_have_names_of_their_own_and_every_parameter() -> None:
    names = [route.name for route in TABLE]
    assert len(set(names)) == len(names)
    for path, methods in document("1")["paths"].items():
        for operation in methods.values():
            told = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert told == set(re.findall(r"\{(\w+)\}", path))
            assert "401" in operation["responses"]


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(each) for each in node.values()))
    if isinstance(node, list):
        return set().union(*(_references(each) for each in node))
    return set()


def test_every_reference_leads_somewhere() -> None:
    found = document("1")
    schemas = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    references = _references(json.loads(document_text("1")))
    assert references <= schemas
    assert "#/components/schemas/EventCreate" in references
