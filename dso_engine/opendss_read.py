"""An OpenDSS script becomes a network file's content; what is not understood is an error with file and line.

Covered: Circuit, Vsource, Transformer, LineCode, Line, Load, Generator and the Reactor that earths the star
point. What only measures, shows or runs (Monitor, Solve, ...) does not change the network; it is left out and
noted, like every option that has no effect on a snapshot, and every value that OpenDSS assumes.

Source: grid-model.md 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import NetworkFile
from dso_engine.opendss_elements import CodeElement, read_code, read_line
from dso_engine.opendss_feeder import Parts, assemble
from dso_engine.opendss_options import Options
from dso_engine.opendss_script import Element, Script
from dso_engine.opendss_supply import read_earth, read_source
from dso_engine.opendss_text import Place, read_commands
from dso_engine.opendss_transformer import TransformerElement, read_transformer
from dso_engine.opendss_units import UnitElement, VoltageBand, read_units

__all__ = ["OpenDssFeeder", "VoltageBand", "read_opendss_file"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDssFeeder:
    """What a script says about the network."""

    file: NetworkFile
    notes: tuple[str, ...]
    """What was left out because it does not change the network, and what was assumed, with file and line."""
    bands: tuple[VoltageBand, ...]
    """Where OpenDSS keeps the power of each load constant, in the order of the homes."""


def read_opendss_file(path: Path, *, rated_a: float | None = None) -> OpenDssFeeder:
    """The network of a script.

    Args:
        path: The script; files it includes are below its folder.
        rated_a: Rating of lines without ``normamps``, amperes; None refuses them.

    Raises:
        InvalidScript: if anything in it is not understood or cannot be modelled; file and line are named.
        InvalidFeeder: if a file cannot be read or the script has no circuit.
    """
    script = Script()
    for command in read_commands(path):
        script.run(command)
    circuit = next(iter(script.elements.values()), None)
    if circuit is None:
        raise InvalidFeeder(f"{path.name}: no circuit")
    return _Reading(script, circuit).feeder(rated_a)


class _Reading:
    """The elements of a script, read one by one, with what is to be noted about them."""

    def __init__(self, script: Script, circuit: Element) -> None:
        self._script = script
        self._circuit = circuit
        self._hz = circuit.base_hz if script.frequency_hz is None else script.frequency_hz
        self._ignored: dict[tuple[str, str], list[Place]] = {}
        self._assumed: list[str] = []

    def feeder(self, rated_a: float | None) -> OpenDssFeeder:
        """Everything put together."""
        loads, bands = self._units("load")
        parts = Parts(
            name=self._circuit.name,
            at=self._circuit.at,
            frequency_hz=self._hz,
            sources=tuple(
                read_source(options, element.name)
                for kind in ("circuit", "vsource")
                for element, options in self._enabled(kind)
            ),
            transformers=tuple(
                self._noted("transformer", *_transformer(element))
                for element, _ in self._enabled("transformer")
            ),
            codes=tuple(self._code(element, options) for element, options in self._enabled("linecode")),
            lines=tuple(
                read_line(options, element.name, self._hz) for element, options in self._enabled("line")
            ),
            loads=loads,
            generators=self._units("generator")[0],
            earths=tuple(read_earth(options, element.name) for element, options in self._enabled("reactor")),
            rated_a=rated_a,
        )
        file, more = assemble(parts)
        notes = [*self._script.notes, *self._assumed, *_narrow(bands, file)]
        for (kind, option), places in self._ignored.items():
            often = f" ({len(places)} times)" if len(places) > 1 else ""
            notes.append(f"{places[0]}: {kind} option {option} has no effect here{often}")
        return OpenDssFeeder(file=file, notes=(*notes, *more), bands=bands)

    def _enabled(self, kind: str) -> Iterator[tuple[Element, Options]]:
        """The enabled elements of a class; what they say in vain is noted after each was read."""
        for element in self._script.elements.values():
            if element.kind != kind:
                continue
            options = Options(f"{kind.capitalize()}.{element.name}", element.options, element.at)
            if not options.flag("enabled", default=True):
                self._script.notes.append(f"{element.at}: {options.name} is not enabled and left out")
                continue
            self._check_frequency(element, options)
            yield element, options
            self._noted(kind, None, options)

    def _noted(self, kind: str, found: _T, options: Options) -> _T:
        for name in options.ignored:
            self._ignored.setdefault((kind, name), []).append(options.place(name))
        self._assumed += options.assumed
        return found

    def _units(self, kind: str) -> tuple[tuple[UnitElement, ...], tuple[VoltageBand, ...]]:
        units: list[UnitElement] = []
        bands: list[VoltageBand] = []
        for element, options in self._enabled(kind):
            found, of_found = read_units(options, element.name, generator=kind == "generator")
            if len(found) > 1:
                names = ", ".join(unit.name for unit in found)
                self._assumed.append(f"{element.at}: {options.name} has three phases, here three: {names}")
            units += found
            bands += of_found
        return tuple(units), tuple(bands)

    def _code(self, element: Element, options: Options) -> CodeElement:
        conductors = options.number("nphases", 3.0)
        unit = (options.text("units") or "none").lower()
        found = read_code(options, element.name, int(conductors), unit, self._hz)
        options.without_effect(
            ("emergamps", "faultrate", "pctperm", "repair", "seasons", "ratings", "linetype")
        )
        options.without_effect(("rg", "xg", "rho"))
        options.finish()
        return found

    def _check_frequency(self, element: Element, options: Options) -> None:
        base_hz = options.number("basefreq", element.base_hz)
        if element.kind in ("circuit", "vsource"):
            base_hz = options.number("frequency", base_hz)
        if element.kind in ("load", "generator", "reactor") or base_hz == self._hz:
            return
        raise element.at.error(
            f"{options.name}: its reactances are for {base_hz:g} Hz, the circuit runs at {self._hz:g} Hz and "
            f"OpenDSS would scale them; set DefaultBaseFrequency={self._hz:g} before the circuit"
        )


def _transformer(element: Element) -> tuple[TransformerElement, Options]:
    left = [option for option in element.options if option.name != "basefreq"]  # has been checked
    return read_transformer(left, element.name, element.at)


def _narrow(bands: tuple[VoltageBand, ...], file: NetworkFile) -> Iterator[str]:
    v_v = 1e3 * file.transformer.v_lv_ll_kv / 3.0**0.5
    narrow = [band for band in bands if band.low_v > 0.8 * v_v or band.high_v < 1.2 * v_v]
    if narrow:
        low_v, high_v = max(band.low_v for band in narrow), min(band.high_v for band in narrow)
        yield (
            f"{len(narrow)} of {len(bands)} loads have constant power in OpenDSS only from vminpu to vmaxpu "
            f"(in all of them from {low_v:.1f} to {high_v:.1f} V) and constant impedance beyond; here their "
            "power is constant at every voltage"
        )
