"""The answers of the VTN's HTTP transport: headers, compression, when to come back.

Source: OpenADR 2.0b section 9.1.9.
"""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache
from typing import Final

from aiohttp import web

from schemas.oadr20b.simple_http import CONTENT_TYPE

__all__ = ["BUSY_FOR_S", "reply"]

BUSY_FOR_S: Final = "1"
"""The Retry-After of a VTN that has too much to do."""
_COMPRESSION_LEVEL: Final = 1
_HEADERS: Final = {"Content-Type": CONTENT_TYPE}


def reply(request: web.BaseRequest, status: int, body: bytes) -> web.Response:
    """Return the response, compressed if the peer asks for it (section 9.1.9.2); never chunked."""
    if status != 200:
        headers = {"Retry-After": BUSY_FOR_S} if status == 503 else None
        return web.Response(status=status, body=body, content_type="text/plain", headers=headers)
    accepted = request.headers.get("Accept-Encoding")
    if accepted is None:
        return web.Response(body=body, headers=_HEADERS)
    encoding = _encoding(accepted)
    if encoding == "gzip":
        body = gzip.compress(body, _COMPRESSION_LEVEL, mtime=0)
    elif encoding == "deflate":
        body = zlib.compress(body, _COMPRESSION_LEVEL)
    else:
        return web.Response(body=body, headers=_HEADERS)
    return web.Response(body=body, headers={**_HEADERS, "Content-Encoding": encoding})


@lru_cache(maxsize=100)
def _encoding(accepted: str) -> str:
    """Return the encoding to use for an Accept-Encoding header; empty for none."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            weights[name.strip()] = float(weight) if weight else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return next((name for name in ("gzip", "deflate") if weights.get(name, 0.0) > 0.0), "")
