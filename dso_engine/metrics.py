"""Figures of one run: what crossed the transformer, voltages, unbalance, losses.

Everything is judged on the plant's series, one value per slot (mechanisms.md 9: tests and the result table
judge on the plant).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dso_engine.model import SLOT_H, FloatArray, Limits

__all__ = ["Metrics", "RunSeries", "summarise"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunSeries:
    """Series of a run, one row per slot, at least one.

    Raises:
        ValueError: if shapes do not fit or a value is not finite.
    """

    transformer_p_kw: FloatArray
    """Active power through the transformer, shape (time, 3), + = import from medium voltage."""
    v_max_v: FloatArray
    """Highest phase-to-neutral voltage of the network per phase, shape (time, 3)."""
    v_min_v: FloatArray
    """Lowest, shape (time, 3)."""
    vuf_pct: FloatArray
    """Highest voltage unbalance factor of the network, shape (time,)."""
    line_loss_kw: FloatArray
    """Losses in the phase conductors of the lines, shape (time,)."""
    neutral_loss_kw: FloatArray
    """Losses in the neutral conductors, shape (time,); not part of ``line_loss_kw``."""
    transformer_loss_kw: FloatArray
    """Shape (time,)."""
    transformer_s_kva: FloatArray
    """Apparent power of the transformer, shape (time,)."""

    def __post_init__(self) -> None:
        """Raises ValueError on unusable series: a NaN must not become a figure."""
        slots = self.transformer_p_kw.shape[0] if self.transformer_p_kw.ndim else 0
        if slots == 0:
            raise ValueError("a run needs at least one slot")
        per_phase = ("transformer_p_kw", "v_max_v", "v_min_v")
        for field in fields(self):
            series: FloatArray = getattr(self, field.name)
            expected = (slots, 3) if field.name in per_phase else (slots,)
            if series.shape != expected:
                raise ValueError(f"{field.name} has shape {series.shape}, not {expected}")
            if not np.isfinite(series).all():
                raise ValueError(f"{field.name} holds a value that is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Figures of one run."""

    imported_kwh: float
    """Sum over phases and slots of what came from medium voltage."""
    exported_kwh: float
    """Sum over phases and slots of what went to medium voltage, >= 0; phases are not netted."""
    peak_p_kw: float
    """P_max: largest sum over the phases of |P| (eq. 4.2a)."""
    peak_s_kva: float
    par: float | None
    """Peak to average ratio (eq. 4.2b); None if nothing flowed at all."""
    v_high_pct: tuple[float, float, float]
    """Per phase, highest voltage of the run relative to nominal, signed percent (eq. 4.3b)."""
    v_low_pct: tuple[float, float, float]
    """Per phase, lowest voltage of the run relative to nominal, signed percent."""
    vuf_pct: float
    line_loss_kwh: float
    neutral_loss_kwh: float
    transformer_loss_kwh: float
    slots_beyond_voltage_limit: int
    """Slots in which any phase anywhere was outside the band; the limit itself is inside."""

    @property
    def v_worst_pct(self) -> tuple[float, float, float]:
        """Per phase, the deviation with the largest size, with its sign; the high one if both are equal."""
        a, b, c = (
            high if abs(high) >= abs(low) else low
            for high, low in zip(self.v_high_pct, self.v_low_pct, strict=True)
        )
        return a, b, c


def summarise(series: RunSeries, limits: Limits) -> Metrics:
    """Computes the figures of one run.

    Args:
        series: Series of ten-minute slots.
        limits: Nominal voltage and band.

    Returns:
        The figures.

    Source: thesis eq. 4.2a, 4.2b, 4.3b (nominal voltage from ``limits``); the losses are those of the power
    flow, not eq. 4.1a (errata 11).
    """
    p_abs_kw = np.abs(series.transformer_p_kw).sum(axis=1)
    total_kw = float(p_abs_kw.sum())
    peak_kw = float(p_abs_kw.max())
    nominal_v = limits.v_nominal_v
    beyond = (series.v_max_v > nominal_v * (1.0 + limits.v_band)) | (
        series.v_min_v < nominal_v * (1.0 - limits.v_band)
    )
    return Metrics(
        imported_kwh=float(np.maximum(series.transformer_p_kw, 0.0).sum()) * SLOT_H,
        exported_kwh=float(np.maximum(-series.transformer_p_kw, 0.0).sum()) * SLOT_H,
        peak_p_kw=peak_kw,
        peak_s_kva=float(series.transformer_s_kva.max()),
        par=len(p_abs_kw) * peak_kw / total_kw if total_kw > 0.0 else None,
        v_high_pct=_per_phase(100.0 * (series.v_max_v.max(axis=0) / nominal_v - 1.0)),
        v_low_pct=_per_phase(100.0 * (series.v_min_v.min(axis=0) / nominal_v - 1.0)),
        vuf_pct=float(series.vuf_pct.max()),
        line_loss_kwh=float(series.line_loss_kw.sum()) * SLOT_H,
        neutral_loss_kwh=float(series.neutral_loss_kw.sum()) * SLOT_H,
        transformer_loss_kwh=float(series.transformer_loss_kw.sum()) * SLOT_H,
        slots_beyond_voltage_limit=int(np.count_nonzero(beyond.any(axis=1))),
    )


def _per_phase(values: FloatArray) -> tuple[float, float, float]:
    """Three floats of an array of shape (3,)."""
    a, b, c = values.tolist()
    return a, b, c
