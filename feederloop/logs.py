"""How the programs log: readable lines for people, one JSON object a line for machines. On stderr.

What a peer has sent may be part of a text. It cannot begin a line of its own, nor control a terminal: the
characters that would are written as escapes.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

__all__ = ["JsonLines", "TextLines", "setup_logs"]

_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_STANDARD: Final = frozenset(
    (*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "color_message")
)
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOISY: Final = ("aiohttp", "alembic", "asyncio", "sqlalchemy")


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class TextLines(logging.Formatter):
    """A readable line for each record; only a traceback has more."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a method of logging's
        """Return a record as a line."""
        worker = getattr(record, "worker", None)
        text = super().formatMessage(record)
        return _escaped(text if worker is None else f"[{worker}] {text}")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, text, and whatever came as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line."""
        when = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        told.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return _escaped(json.dumps(told, ensure_ascii=False, default=str))


class _OfWorker(logging.Filter):
    """Lets everything through, with the number of the process."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._number
        return True


def setup_logs(level: str, form: str, stream: TextIO | None = None, worker: int | None = None) -> None:
    """Configure logging for this process; what was configured before is replaced.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``text``, ``json``, or ``auto``: text on a terminal, else JSON.
        stream: Where to, stderr if left out.
        worker: The number of this process among several; every line has it.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    as_json = form == "json" or (form == "auto" and not target.isatty())
    if worker is not None:
        handler.addFilter(_OfWorker(worker))
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
