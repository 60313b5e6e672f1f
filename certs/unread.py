"""Bodies that were refused: the answer goes out at once, and only a little of the rest is read away.

Whoever posts 100 MB must not make a server take 100 MB, not even to throw them away. If it read nothing at
all, though, a client that first sends and then listens would be cut off before it has seen the answer. So as
much as may be accepted otherwise is read and dropped, for a short time; then the connection ends.

For both sides that listen. Their aiohttp runners have ``lingering_time=0``: this is done here instead, since
aiohttp bounds the time only.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from aiohttp import web

__all__ = ["BadBody", "read_body", "sent_away"]

_LINGER_S: Final = 2.0


class BadBody(Exception):
    """A body that cannot be read as what its headers say it is."""


async def read_body(request: web.BaseRequest, *, max_bytes: int) -> bytes:
    """Return the body of a request.

    Args:
        request: Its application has ``max_bytes`` as its ``client_max_size``, which holds after unpacking.
        max_bytes: What is said to be larger is refused before anything is read.

    Raises:
        HTTPRequestEntityTooLarge: if it is larger.
        BadBody: if it is not packed as it says, or its chunks are none.
    """
    length = request.content_length
    if length is not None and length > max_bytes:
        raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=length)
    try:
        return await request.read()
    except web.RequestPayloadError as err:
        raise BadBody(str(err)) from err


async def sent_away(
    request: web.BaseRequest, response: web.StreamResponse, *, most_bytes: int
) -> web.StreamResponse:
    """Send an answer, and read away some of what is left of the body; without such, change nothing.

    Args:
        request: The request.
        response: The answer, not sent yet.
        most_bytes: How much is read away at most, after unpacking.
    """
    if request.content.is_eof():
        return response
    left = most_bytes
    with suppress(TimeoutError, web.RequestPayloadError, ConnectionError):
        await response.prepare(request)
        await response.write_eof()
        async with asyncio.timeout(_LINGER_S):
            while left > 0 and not request.content.is_eof():
                left -= len(await request.content.readany())
    return response
