"""URIs in the form in which they are compared."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

__all__ = ["is_among", "normal_uri"]


def normal_uri(uri: str) -> str:
    """Return a market context in the form that is compared: scheme and host in lower case, no bare slash.

    Source: r512, RFC 3986 section 6.2.2.1.
    """
    try:
        parts = urlsplit(uri.strip())
    except ValueError:
        return uri
    path = "" if parts.path == "/" and parts.netloc else parts.path
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=path).geturl()


def is_among(uri: str, uris: Iterable[str]) -> bool:
    """Return whether a market context is one of some (r512)."""
    wanted = normal_uri(uri)
    return any(wanted == normal_uri(each) for each in uris)
