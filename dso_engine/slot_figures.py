"""What of a solved network goes into the figures of a run, slot by slot; and many slots as one series.

Source: thesis chapter 4, section 3; see :mod:`dso_engine.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dso_engine.metrics import RunSeries, per_phase
from dso_engine.powerflow import GridState

__all__ = ["SlotFigures", "figures_of", "run_series", "series_of"]

PerPhase = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFigures:
    """One slot of a :class:`dso_engine.metrics.RunSeries`.

    Attributes:
        transformer_p_kw: Through each phase of the transformer, + = import.
        v_max_v: Highest phase-to-neutral voltage of the network, per phase.
        v_min_v: Lowest.
        vuf_pct: Highest of the network.
        line_loss_kw: In all four conductors.
        neutral_loss_kw: The neutral's share of it.
    """

    transformer_p_kw: PerPhase
    v_max_v: PerPhase
    v_min_v: PerPhase
    vuf_pct: float
    line_loss_kw: float
    neutral_loss_kw: float
    transformer_loss_kw: float
    transformer_s_kva: float


def figures_of(state: GridState) -> SlotFigures:
    """Return the figures of one state."""
    return SlotFigures(
        transformer_p_kw=per_phase(state.transformer_p_kw),
        v_max_v=per_phase(state.v_v.max(axis=0)),
        v_min_v=per_phase(state.v_v.min(axis=0)),
        vuf_pct=float(state.vuf_pct.max()),
        line_loss_kw=float(state.line_loss_kw),
        neutral_loss_kw=float(state.neutral_loss_kw),
        transformer_loss_kw=float(state.transformer_loss_kw),
        transformer_s_kva=float(state.transformer_s_kva),
    )


def run_series(states: Sequence[GridState]) -> RunSeries:
    """Return the states of a run, one per slot, as arrays for the metrics.

    Raises:
        ValueError: see :func:`series_of`.
    """
    return series_of([figures_of(state) for state in states])


def series_of(slots: Sequence[SlotFigures]) -> RunSeries:
    """Return the figures of a run, one per slot, as arrays for the metrics.

    Raises:
        ValueError: if there is no slot, or a figure is not finite.
    """
    return RunSeries(
        transformer_p_kw=np.array([s.transformer_p_kw for s in slots]),
        v_max_v=np.array([s.v_max_v for s in slots]),
        v_min_v=np.array([s.v_min_v for s in slots]),
        vuf_pct=np.array([s.vuf_pct for s in slots]),
        line_loss_kw=np.array([s.line_loss_kw for s in slots]),
        neutral_loss_kw=np.array([s.neutral_loss_kw for s in slots]),
        transformer_loss_kw=np.array([s.transformer_loss_kw for s in slots]),
        transformer_s_kva=np.array([s.transformer_s_kva for s in slots]),
    )
