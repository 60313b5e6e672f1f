"""When the real-time price is armed.

Rules (mechanisms.md 9):

1. Stress is judged as it would be without a price. The estimate of the last slot counts only as what it is:
   when u was not zero it is the stress of a controlled network and can keep the price armed but never
   release it.
2. The forecast of the coming slot counts as much as the estimate of the last one: a violation can appear
   from one slot to the next.
3. The price is armed at once, when any stress reaches an arming level.
4. It is released after two slots in a row in which every stress lay below both release levels and u was
   zero. One slot between the levels, or with a price, starts the count again.

What a slot looked like is one of three words (`classify`), the state one of three, and the machine a table::

                    CALM slot     BETWEEN      STRESSED
    IDLE            IDLE          IDLE         ARMED
    ARMED           COOLING       ARMED        ARMED
    COOLING         IDLE          ARMED        ARMED
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from dso_engine.model import Limits


class TriggerState(Enum):
    """Whether the price is armed for the coming slot."""

    IDLE = "idle"
    ARMED = "armed"
    COOLING = "cooling"
    """Armed, after one calm slot."""

    @property
    def armed(self) -> bool:
        """Whether the coming slot is controlled."""
        return self is not TriggerState.IDLE


class SlotStress(Enum):
    """What one slot looked like."""

    CALM = "calm"
    BETWEEN = "between"
    STRESSED = "stressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """How near a network state is to its limits.

    Attributes:
        v_dev: Largest deviation of a phase voltage, per unit of nominal, >= 0.
        i_load: Largest loading of a segment or the transformer, fraction of its rating, >= 0.
    """

    v_dev: float
    i_load: float

    def __post_init__(self) -> None:
        if not (self.v_dev >= 0.0 and self.i_load >= 0.0):  # NaN must not look calm
            raise ValueError(f"stress must be non-negative numbers, not {self.v_dev}, {self.i_load}")


_TABLE: Final = MappingProxyType(
    {
        (TriggerState.IDLE, SlotStress.CALM): TriggerState.IDLE,
        (TriggerState.IDLE, SlotStress.BETWEEN): TriggerState.IDLE,
        (TriggerState.IDLE, SlotStress.STRESSED): TriggerState.ARMED,
        (TriggerState.ARMED, SlotStress.CALM): TriggerState.COOLING,
        (TriggerState.ARMED, SlotStress.BETWEEN): TriggerState.ARMED,
        (TriggerState.ARMED, SlotStress.STRESSED): TriggerState.ARMED,
        (TriggerState.COOLING, SlotStress.CALM): TriggerState.IDLE,
        (TriggerState.COOLING, SlotStress.BETWEEN): TriggerState.ARMED,
        (TriggerState.COOLING, SlotStress.STRESSED): TriggerState.ARMED,
    }
)


def classify(stresses: tuple[Stress, ...], *, price_was_zero: bool, limits: Limits) -> SlotStress:
    """One word for the slot that ends now and the one to come.

    Args:
        stresses: Estimate of the last slot and forecast of the coming one; whichever are known. None known is
            `BETWEEN`: nothing arms and nothing releases.
        price_was_zero: Whether u stayed zero at this place through the last slot.
        limits: Arming and release levels.
    """
    if any(s.v_dev >= limits.arm_v or s.i_load >= limits.arm_i for s in stresses):
        return SlotStress.STRESSED
    quiet = all(s.v_dev < limits.release_v and s.i_load < limits.release_i for s in stresses)
    return SlotStress.CALM if stresses and quiet and price_was_zero else SlotStress.BETWEEN


def advance(
    state: TriggerState, stresses: tuple[Stress, ...], *, price_was_zero: bool, limits: Limits
) -> TriggerState:
    """State for the coming slot, once per slot edge.

    Args:
        state: State in the slot that ends.
        stresses: See `classify`.
        price_was_zero: See `classify`.
        limits: Arming and release levels.
    """
    return _TABLE[state, classify(stresses, price_was_zero=price_was_zero, limits=limits)]
