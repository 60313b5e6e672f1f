"""What both ends of simple HTTP decide about a request without reading it: path and media type. Pure.

Source: OpenADR 2.0b sections 9.1.2 and 9.1.9; rule 511; RFC 3986 section 6.2.2.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CONTENT_TYPE", "PATH", "base_path", "is_xml", "normal_path"]

PATH: Final = "/OpenADR2/Simple/2.0b/"
"""The well-known path between the prefix and the service (r511)."""

CONTENT_TYPE: Final = "application/xml"

_SLASHES: Final = re.compile("/+")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def base_path(prefix: str) -> str:
    """Return what stands before the well-known path: with a slash in front and none at the end, or empty."""
    bare = prefix.strip("/")
    return f"/{bare}" if bare else ""


def is_xml(content_type: str, charset: str | None) -> bool:
    """Return whether a body of this media type is taken: application/xml in UTF-8 (section 9.1.9)."""
    return content_type == CONTENT_TYPE and (charset or "utf-8").lower() in ("utf-8", "utf8")


def normal_path(raw: str) -> str:
    """Return a path in the form that is compared (r511, RFC 3986 section 6.2.2).

    Percent-encoded unreserved characters are decoded, dot segments resolved; doubled slashes and one at the
    end, which RFC 3986 keeps apart, are tolerated.
    """
    if "%" in raw:
        raw = _ESCAPE.sub(_unescaped, raw)
    if "/." not in raw and "//" not in raw and not raw.endswith("/"):
        return raw
    kept: list[str] = []
    for segment in _SLASHES.sub("/", raw).strip("/").split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match.group(1), 16))
    return character if character in _UNRESERVED else match.group(0)
