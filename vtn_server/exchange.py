"""One request and its answer, for whoever keeps a log of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Exchange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer, as bytes.

    Attributes:
        service: Where the request went.
        ven_id: The VEN's, where the request says it.
        pushed: Whether the VTN asked and the VEN answered.
    """

    at: datetime
    service: str
    ven_id: str | None
    request: bytes
    status: int
    reply: bytes
    pushed: bool = False
