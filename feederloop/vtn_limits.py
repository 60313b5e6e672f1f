"""Bounds of the VTN that depend on the machine, and those of its pushes."""

from __future__ import annotations

import logging
from typing import Final

from config.vtn_settings import VtnProgramSettings
from feederloop.process import length, raise_file_limit
from vtn_server.push_http import PushLimits

__all__ = ["push_limits", "within_files"]

_LOG: Final = logging.getLogger(__name__)
_OWN_FILES: Final = 200
"""Files beside the connections of VENs: those of the store, the operator API, health, logs."""


def within_files(settings: VtnProgramSettings) -> VtnProgramSettings:
    """Return the settings with no more connections than the system lets the process have files.

    A process that runs out of files cannot open its own, those of the store among them; so it does not get
    that far.
    """
    limits = settings.limits
    beside = _OWN_FILES + (push_limits(settings).connections if settings.push else 0)
    there = raise_file_limit(limits.connections + beside)
    most = max(1, min(limits.connections, there - beside))
    if most == limits.connections:
        return settings
    _LOG.warning(
        "the system allows this process %d open files: %d connections of VENs at most, not %d; raise its"
        " limit (LimitNOFILE) to %d",
        *(there, most, limits.connections, limits.connections + beside),
    )
    return settings.model_copy(update={"limits": limits.model_copy(update={"connections": most})})


def push_limits(settings: VtnProgramSettings) -> PushLimits:
    """Return the bounds of pushes."""
    limits = settings.limits
    return PushLimits(
        exchanges=limits.push_exchanges,
        doubtful_exchanges=max(1, limits.push_exchanges // 8),
        slow_exchanges=limits.push_slow_exchanges,
        kept=limits.push_kept,
        keep_alive_s=length(limits.push_keep_alive).total_seconds(),
    )
