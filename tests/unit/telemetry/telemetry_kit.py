"""Six meters and what is believed of them, for the tests of the telemetry adapters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dso_engine.model import Pcc, PccReading, Phase
from feederloop.telemetry.board import Plausible

NOW = datetime(2026, 5, 16, 10, 0, tzinfo=UTC)
PCCS = tuple(Pcc(feeder=feeder, phase=phase) for feeder in (1, 2) for phase in Phase)
METERS = {str(pcc.id): pcc for pcc in PCCS}
PLAUSIBLE = Plausible(max_kw=100.0, max_kvar=50.0, v_low_v=115.0, v_high_v=300.0)
HEADER = "time,pcc,p_kw,q_kvar,v_v\n"


def at(seconds: float) -> str:
    """An instant as a file has it."""
    return (NOW + timedelta(seconds=seconds)).isoformat()


def line(seconds: float, pcc: str, p_kw: float | str, q_kvar: float = 0.5, v_v: float = 230.0) -> str:
    return f"{at(seconds)},{pcc},{p_kw},{q_kvar},{v_v}\n"


def powers(readings: tuple[PccReading, ...]) -> dict[str, tuple[float, float]]:
    """Power and seconds since the start, by PCC."""
    return {str(r.pcc.id): (r.p_kw, (r.taken_at - NOW).total_seconds()) for r in readings}
