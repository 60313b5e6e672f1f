"""Schema of a network file (``config/networks/*.json``); `dso_engine.feeder` checks what it means.

Only what the model uses is declared; provenance and summaries of a file are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from dso_engine.errors import InvalidFeeder

Id = Annotated[str, StringConstraints(min_length=1)]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0.0)]
Matrix = tuple[tuple[FiniteFloat, ...], ...]
EarthingName = Literal["transformer star point only", "every bus"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


class SourcePart(_Part):
    """Medium-voltage source behind its impedance."""

    bus: Id
    v_ll_kv: Positive
    r1_ohm: NotNegative
    x1_ohm: NotNegative
    r0_ohm: NotNegative
    x0_ohm: NotNegative


class ZeroSequencePart(_Part):
    """Zero-sequence short-circuit voltages of the transformer, percent."""

    vk0_percent: Positive
    vkr0_percent: NotNegative


class TapPart(_Part):
    """Tap position, per unit of the rated voltage of the side."""

    side: Literal["hv", "lv"]
    value_pu: Positive


class TransformerPart(_Part):
    """Distribution transformer."""

    id: Id
    hv_bus: Id
    lv_bus: Id
    s_rated_kva: Positive
    v_hv_ll_kv: Positive
    v_lv_ll_kv: Positive
    connection: str
    clock_number: int
    vk_percent: Positive
    vkr_percent: NotNegative
    pfe_kw: NotNegative
    zero_sequence: ZeroSequencePart
    tap: TapPart


class LinecodePart(_Part):
    """Conductor data per metre, order a b c n."""

    r_ohm_per_m: Matrix
    x_ohm_per_m: Matrix
    c_nf_per_m: Matrix
    rated_current_a: Positive
    rated_neutral_current_a: Positive | None = None


class BusPart(_Part):
    """A bus; feeder 0 means none."""

    id: Id
    v_nom_ll_kv: Positive
    feeder: int


class BranchPart(_Part):
    """A piece of a feeder between two buses, from the busbar side to the far side."""

    id: Id
    feeder: int
    from_bus: Id
    to_bus: Id


class LinkPart(BranchPart):
    """The switch between the busbar and a feeder; without an impedance it has that of the reference."""

    closed: bool
    r_ohm: Positive | None = None
    x_ohm: NotNegative | None = None


class LinePart(BranchPart):
    """A cable segment; with a phase it has that one and the return conductor only, as all beyond it."""

    linecode: Id
    length_m: Positive
    phase: Literal["A", "B", "C"] | None = None


class HouseholdPart(_Part):
    """A home and the load the file gives as its base case."""

    id: Id
    feeder: int
    bus: Id
    phase: Literal["A", "B", "C"]
    p_kw: FiniteFloat
    q_kvar: FiniteFloat


class PvPart(_Part):
    """A generator behind the meter of a home; the engine does not use it, the base case does."""

    id: Id
    bus: Id
    phase: Literal["A", "B", "C"]
    household: Id
    p_kw: FiniteFloat
    q_kvar: FiniteFloat


class NetworkFile(_Part):
    """The whole file."""

    format: Literal["lv-four-wire-network"]
    version: Literal[1]
    name: Id
    frequency_hz: Positive
    neutral_earthing: EarthingName
    mv_source: SourcePart
    transformer: TransformerPart
    linecodes: dict[Id, LinecodePart]
    buses: tuple[BusPart, ...]
    links: tuple[LinkPart, ...]
    lines: tuple[LinePart, ...]
    households: tuple[HouseholdPart, ...]
    pv: tuple[PvPart, ...] = ()


def read_network_file(path: Path) -> NetworkFile:
    """The file's content, complete and of the right types.

    Args:
        path: A network file.

    Raises:
        InvalidFeeder: if the file cannot be read or an entry is missing or of the wrong kind; the message
            names every such entry.
    """
    try:
        return NetworkFile.model_validate_json(path.read_bytes())
    except OSError as err:
        raise InvalidFeeder(f"{path.name}: cannot be read: {err.strerror}") from err
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc']) or 'file'}: {fault['msg']}"
            for fault in err.errors()
        )
        raise InvalidFeeder(f"{path.name}: {faults}") from err


def network_json(file: NetworkFile) -> str:
    """The text of a network file, which `read_network_file` takes back without loss."""
    return file.model_dump_json(indent=1, exclude_none=True) + "\n"
