"""Figures of one run: what crossed the transformer, voltages, unbalance, losses.

Everything is judged on the plant's series, one value per slot (mechanisms.md 9: tests and the result table
judge on the plant). Thesis chapter 4, section 3, equation by equation:

=====  =====================================================================================================
P_in   ``imported_kwh``, ``peak_in_kw``; the thesis takes P_in at the primary winding, we take both
       directions at the secondary, where the phases are metered
P_out  ``exported_kwh``, ``peak_out_kw``
P_abs  ``through_kwh``
4.1a   ``transformer_loss_kwh``, from the power flow; as printed the copper loss grows with P, errata 11.
       :func:`transformer_loss_kw` is the corrected formula, for a check by hand
4.1b   ``phase_loss_kwh`` (the sum over the phases as printed); with the neutral ``line_loss_kwh``
4.2    ``peak_p_kw``, ``par``
4.3ab  ``v_high_pct``, ``v_low_pct``; nominal is 400/sqrt(3) V or what ``Limits`` says, not 410/sqrt(3)
4.3c   ``vuf_pct``, ``vuf_mean_pct``, ``vuf_p95_pct``
=====  =====================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dso_engine.model import SLOT_H, FloatArray, Limits

__all__ = ["Metrics", "RunSeries", "per_phase", "summarise", "transformer_loss_kw"]


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
    """Losses of the lines in all four conductors, shape (time,)."""
    neutral_loss_kw: FloatArray
    """The neutral's share of ``line_loss_kw``, shape (time,)."""
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
    through_kwh: float
    """Sum over phases and slots of |P|: imported and exported together."""
    peak_in_kw: float
    """Largest P_in: sum over the phases that import."""
    peak_out_kw: float
    """Largest P_out, >= 0: sum over the phases that export."""
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
    """Highest voltage unbalance of the run at any bus (eq. 4.3c)."""
    vuf_mean_pct: float
    """Mean over the slots of the highest unbalance in the network."""
    vuf_p95_pct: float
    """What 95 % of the slots do not exceed, the smallest such value of a slot (the way of EN 50160)."""
    line_loss_kwh: float
    """In all four conductors."""
    neutral_loss_kwh: float
    """The neutral's share of it."""
    transformer_loss_kwh: float
    slots_beyond_voltage_limit: int
    """Slots in which any phase anywhere was outside the band; the limit itself is inside."""

    @property
    def phase_loss_kwh(self) -> float:
        """Losses in the phase conductors alone (eq. 4.1b)."""
        return self.line_loss_kwh - self.neutral_loss_kwh

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
        through_kwh=total_kw * SLOT_H,
        peak_in_kw=float(np.maximum(series.transformer_p_kw, 0.0).sum(axis=1).max()),
        peak_out_kw=float(np.maximum(-series.transformer_p_kw, 0.0).sum(axis=1).max()),
        peak_p_kw=peak_kw,
        peak_s_kva=float(series.transformer_s_kva.max()),
        par=len(p_abs_kw) * peak_kw / total_kw if total_kw > 0.0 else None,
        v_high_pct=per_phase(100.0 * (series.v_max_v.max(axis=0) / nominal_v - 1.0)),
        v_low_pct=per_phase(100.0 * (series.v_min_v.min(axis=0) / nominal_v - 1.0)),
        vuf_pct=float(series.vuf_pct.max()),
        vuf_mean_pct=float(series.vuf_pct.mean()),
        vuf_p95_pct=float(np.quantile(series.vuf_pct, 0.95, method="inverted_cdf")),
        line_loss_kwh=float(series.line_loss_kw.sum()) * SLOT_H,
        neutral_loss_kwh=float(series.neutral_loss_kw.sum()) * SLOT_H,
        transformer_loss_kwh=float(series.transformer_loss_kw.sum()) * SLOT_H,
        slots_beyond_voltage_limit=int(np.count_nonzero(beyond.any(axis=1))),
    )


def transformer_loss_kw(i_per_rated: FloatArray, *, iron_kw: float, copper_rated_kw: float) -> FloatArray:
    """The losses of a transformer by the corrected formula: iron constant, copper with the square of I.

    Args:
        i_per_rated: Winding currents over rated current, (time, 3).
        iron_kw: Loss at rated voltage without load, all phases.
        copper_rated_kw: Loss of all windings at rated current.

    Returns:
        Shape (time,), kW.

    Raises:
        ValueError: if the currents have another shape.

    Source: thesis eq. 4.1a, corrected: see mechanisms.md 1, errata 11.
    """
    if i_per_rated.ndim != 2 or i_per_rated.shape[1] != 3:
        raise ValueError(f"currents have shape {i_per_rated.shape}, not (time, 3)")
    loss_kw: FloatArray = iron_kw + copper_rated_kw * np.mean(i_per_rated**2, axis=1)
    return loss_kw


def per_phase(values: FloatArray) -> tuple[float, float, float]:
    """Return the three floats of an array of shape (3,)."""
    a, b, c = values.tolist()
    return a, b, c
