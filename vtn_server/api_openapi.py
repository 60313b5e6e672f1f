"""The operator API as an OpenAPI 3.1 document, made from the table of routes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from vtn_server.api_models import ErrorOut
from vtn_server.api_routes import METRICS, PREFIX, TABLE, Route

__all__ = ["document", "document_text"]

_REF: Final = "#/components/schemas/{model}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_TITLE: Final = "feederloop operator API"
_ERRORS: Final = {
    "400": "The request is no JSON.",
    "401": "The token is missing or wrong.",
    "404": "There is no such thing.",
    "409": "Not allowed in the present state.",
    "413": "The request is too large.",
    "422": "The request does not fit.",
    "503": "The store has failed; the VTN stops.",
}


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI document."""
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ErrorOut, "serialization")]
    for route in TABLE:
        wanted.append((route.answers, "serialization"))
        if route.body is not None:
            wanted.append((route.body, "validation"))
    unique = sorted(set(wanted), key=lambda each: (each[0].__name__, each[1]))
    found, definitions = models_json_schema(unique, ref_template=_REF)
    refs = {(model.__name__, mode): schema for (model, mode), schema in found.items()}
    paths: dict[str, Any] = {}
    for route in TABLE:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, refs)
    paths[METRICS] = {"get": _metrics(refs)}
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version},
        "servers": [{"url": "http://127.0.0.1:8081"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def document_text(version: str) -> str:
    """Return the document as it is committed and served."""
    return json.dumps(document(version), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _operation(route: Route, refs: Mapping[tuple[str, JsonSchemaMode], dict[str, Any]]) -> dict[str, Any]:
    errors = {
        status: _json(text, refs[(ErrorOut.__name__, "serialization")])
        for status, text in _ERRORS.items()
        if route.body is not None or status not in ("400", "413")
    }
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {
            str(route.status): _json("Done.", refs[(route.answers.__name__, "serialization")]),
            **errors,
        },
    }
    if route.body is not None:
        schema = refs[(route.body.__name__, "validation")]
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _metrics(refs: Mapping[tuple[str, JsonSchemaMode], dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": "showMetrics",
        "summary": "Show the counters in Prometheus' text format.",
        "tags": ["stats"],
        "parameters": [],
        "responses": {
            "200": {"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}},
            "401": _json(_ERRORS["401"], refs[(ErrorOut.__name__, "serialization")]),
        },
    }


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template=_REF)
    needed = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": part}
        for name, part in schema["properties"].items()
    ]
