"""The last resort: a bound on exports behind one PCC, as high as it may be.

One bound for all homes with PV behind the PCC cuts the largest exports first and leaves small ones alone. The
split of the flow over the homes is an estimate, so the bound is corrected by what the meter shows afterwards.

Source: signals.md, "Last resort"; mechanisms.md 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["corrected_cap_kw", "export_cap_kw"]

_RELAX: Final = 0.5
"""Share of an excess of curtailment that is given back at once."""
_DEAD_BAND_KW: Final = 0.3


def export_cap_kw(exports_kw: Sequence[float], reduction_kw: float) -> float:
    """Return the common bound on exports that takes ``reduction_kw`` off their sum, kW.

    Args:
        exports_kw: Exports of the homes that can be curtailed, >= 0.
        reduction_kw: What has to go, >= 0; more than all of it gives a bound of zero.
    """
    ranked = sorted((e for e in exports_kw if e > 0.0), reverse=True)
    if reduction_kw <= 0.0:
        return ranked[0] if ranked else 0.0
    if reduction_kw >= sum(ranked):
        return 0.0
    above = 0.0
    for count, export in enumerate(ranked, start=1):
        above += export
        below = ranked[count] if count < len(ranked) else 0.0
        cap = (above - reduction_kw) / count
        if cap >= below:
            return cap
    return 0.0


def corrected_cap_kw(cap_kw: float, *, homes: int, shortage_kw: float) -> float:
    """Return the bound after the meter has shown what the last one did, kW.

    Args:
        cap_kw: The bound in force.
        homes: How many homes it holds for.
        shortage_kw: What is still missing at the meter; negative where too much was cut.
    """
    if homes == 0 or (abs(shortage_kw) <= _DEAD_BAND_KW and shortage_kw <= 0.0):
        return cap_kw
    share = 1.0 if shortage_kw > 0.0 else _RELAX
    return max(0.0, cap_kw - share * shortage_kw / homes)
