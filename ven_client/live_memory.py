"""The memory of a home with real devices: beside what the application keeps, what its forecast has learnt.

The devices themselves keep nothing here: their registers go on by themselves, and what they last said is
asked of them again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ven_client.live_forecast import LiveForecast
from ven_client.state import HomeMemory, Remembering

__all__ = ["LiveMemory"]


class LiveMemory:
    """Adds the measured slots to the memory of the application.

    Args:
        application: The application.
        forecast: Its forecast.
    """

    def __init__(self, application: Remembering, forecast: LiveForecast) -> None:
        self._application, self._forecast = application, forecast

    def memory(self, now: datetime) -> HomeMemory:
        """See :class:`ven_client.state.Remembering`."""
        return replace(self._application.memory(now), measured=self._forecast.measured(now))

    def recall(self, memory: HomeMemory, now: datetime) -> None:
        """See :class:`ven_client.state.Remembering`; the forecast comes first: the application asks it."""
        self._forecast.recall(memory.measured)
        self._application.recall(memory, now)
