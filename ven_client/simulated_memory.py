"""A simulated home that goes on after a restart as a real one would: its registers are part of the state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ven_client.devices import SimulatedHome
from ven_client.state import HomeMemory, Remembering

__all__ = ["SimulatedMemory"]


class SimulatedMemory:
    """Adds the registers of a simulated home to the memory of the application that runs it.

    Args:
        application: The application.
        devices: Its devices.
    """

    def __init__(self, application: Remembering, devices: SimulatedHome) -> None:
        self._application, self._devices = application, devices

    def memory(self, now: datetime) -> HomeMemory:
        """See :class:`ven_client.state.Remembering`."""
        return replace(self._application.memory(now), registers=self._devices.registers())

    def recall(self, memory: HomeMemory, now: datetime) -> None:
        """See :class:`ven_client.state.Remembering`; the devices come first: the application reads them."""
        if memory.registers is not None:
            self._devices.resume(memory.registers)
        self._application.recall(memory, now)
