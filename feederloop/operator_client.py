"""The operator API from the other side: one request, one typed reply."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import ValidationError

from vtn_server import api_models as api
from vtn_server.api_routes import PREFIX

__all__ = ["ApiClient", "OperatorError", "token_from"]

M = TypeVar("M", bound=api.Model)
_TIMEOUT_S: Final = 30.0


class OperatorError(Exception):
    """The API did not do what it was asked for; the text says why."""


def token_from(file: Path | None, text: str | None) -> str:
    """Return the token: of a file, or as it is.

    Raises:
        OperatorError: if there is none.
    """
    if file is None:
        if not text:
            raise OperatorError("no token: --token-file FILE, or the variable VTN_OPERATOR__TOKEN")
        return text
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise OperatorError(f"{file}: {err}") from err
    if not lines or not lines[0].strip():
        raise OperatorError(f"{file} holds no token")
    return lines[0].strip()


class ApiClient:
    """A caller of one operator API.

    Args:
        url: Such as ``http://127.0.0.1:8081``.
        token: What it bears.

    Raises:
        OperatorError: if the URL is none.
    """

    def __init__(self, url: str, token: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise OperatorError(f"{url} is no http address")
        self._base = url.rstrip("/") + PREFIX
        self._token = token
        # The API is on this machine: a proxy of the environment has nothing to do with it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(
        self,
        answers: type[M],
        method: str,
        *path: str,
        query: Mapping[str, str | int | None] | None = None,
        body: api.Model | None = None,
    ) -> M:
        """Send one request and return the reply.

        Args:
            answers: The model of the reply.
            method: The HTTP method.
            path: The segments of the path; they are quoted here.
            query: What is None is left out.
            body: What is sent as JSON.

        Raises:
            OperatorError: if it was refused, or nobody answered.
        """
        asked = urlencode({key: value for key, value in (query or {}).items() if value is not None})
        url = "/".join((self._base, *(quote(part, safe="") for part in path))) + (
            f"?{asked}" if asked else ""
        )
        request = urllib.request.Request(url, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = body.model_dump_json(exclude_unset=True).encode()
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                return answers.model_validate_json(response.read())
        except urllib.error.HTTPError as err:
            with err:
                raise OperatorError(_reason(err.code, err.read())) from err
        except (OSError, ValidationError) as err:
            raise OperatorError(f"no answer from {self._base}: {err}") from err


def _reason(status: int, body: bytes) -> str:
    try:
        error = api.ErrorOut.model_validate_json(body)
    except ValidationError:
        return f"HTTP status {status}"
    lines = [f"{error.code}: {error.text}" + (f" (OpenADR {error.oadr_code})" if error.oadr_code else "")]
    if len(error.faults) > 1:
        lines.extend(f"  {each.where}: {each.text}" for each in error.faults)
    return "\n".join(lines)
