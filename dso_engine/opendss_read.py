"""An OpenDSS script becomes a network file's content; what is not understood is an error with file and line.

Covered: Circuit, Vsource, Transformer, LineCode, Line, Load and Generator, `New` and `Edit`, `Set` for the
frequency. What only measures, shows or runs (Monitor, Solve, ...) does not change the network; it is left out
and noted, like every option that has no effect on a snapshot.

Source: grid-model.md 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import NetworkFile
from dso_engine.opendss_elements import CodeElement, read_code, read_line, read_source, read_unit
from dso_engine.opendss_feeder import Parts, assemble
from dso_engine.opendss_options import Options
from dso_engine.opendss_text import Command, Option, Place, read_commands
from dso_engine.opendss_transformer import read_transformer

__all__ = ["OpenDssFeeder", "read_opendss_file"]

_COVERED: Final = ("circuit", "vsource", "transformer", "linecode", "line", "load", "generator")
_MEASURES: Final = frozenset({"energymeter", "monitor", "sensor", "loadshape", "growthshape", "spectrum"})
_RUNS: Final = frozenset(
    {"solve", "calcvoltagebases", "calcv", "buscoords", "show", "export", "plot", "visualize", "sample"}
)
_SETS_NOTHING: Final = frozenset(
    {"mode", "voltagebases", "tolerance", "maxiterations", "maxcontroliter", "controlmode", "algorithm"}
    | {"number", "stepsize", "time", "hour", "sec", "datapath", "editor", "year", "demandinterval"}
)
_OPENDSS_HZ: Final = 60.0
"""What OpenDSS assumes where nobody says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDssFeeder:
    """What a script says about the network."""

    file: NetworkFile
    notes: tuple[str, ...]
    """What was left out because it does not change the network, with file and line."""


@dataclass(slots=True, kw_only=True)
class _Element:
    kind: str
    name: str
    """As written."""
    options: list[Option]
    at: Place
    base_hz: float
    """The default when it was made."""


@dataclass(slots=True)
class _Script:
    """Elements as they stand at the end of the script."""

    base_hz: float = _OPENDSS_HZ
    frequency_hz: float | None = None
    elements: dict[tuple[str, str], _Element] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def run(self, command: Command) -> None:
        """Obey one command."""
        match command.verb:
            case "clear" | "clearall":
                self.elements.clear()
                self.frequency_hz = None
            case "new":
                self._new(command)
            case "edit":
                self._edit(command)
            case "set":
                self._set(command)
            case verb if verb in _RUNS:
                self.notes.append(f"{command.at}: {verb} does not change the network")
            case verb:
                raise command.at.error(f"command {verb} is not understood")

    def _new(self, command: Command) -> None:
        kind, name, options = _named(command)
        if kind in _MEASURES:
            self.notes.append(f"{command.at}: {kind} {name} does not change the network")
            return
        if kind not in _COVERED:
            raise command.at.error(f"{kind} {name} is not understood; only {', '.join(_COVERED)} are")
        if kind == "circuit" and self.elements:
            raise command.at.error("a second circuit, or elements before it")
        if kind != "circuit" and not self.elements:
            raise command.at.error(f"{kind} {name} before the circuit")
        if (kind, name.lower()) in self.elements:
            raise command.at.error(f"{kind} {name} is there already")
        self.elements[kind, name.lower()] = _Element(
            kind=kind, name=name, options=list(options), at=command.at, base_hz=self.base_hz
        )

    def _edit(self, command: Command) -> None:
        kind, name, options = _named(command)
        if (kind, name.lower()) == ("vsource", "source"):
            element = next(iter(self.elements.values()), None)  # the circuit's own source
        else:
            element = self.elements.get((kind, name.lower()))
        if element is None:
            raise command.at.error(f"there is no {kind} {name} to edit")
        element.options += options

    def _set(self, command: Command) -> None:
        for option in command.options:
            if option.name in ("defaultbasefrequency", "frequency"):
                try:
                    value = float(option.value)
                except ValueError:
                    raise option.at.error(f"{option.name}={option.value} is not a number") from None
                if option.name == "frequency":
                    self.frequency_hz = value
                else:
                    self.base_hz = value
            elif option.name in _SETS_NOTHING:
                self.notes.append(f"{option.at}: set {option.name} does not change the network")
            else:
                raise option.at.error(f"set {option.name or option.value} is not understood")


def read_opendss_file(path: Path) -> OpenDssFeeder:
    """The network of a script.

    Args:
        path: The script; files it includes are below its folder.

    Raises:
        InvalidScript: if anything in it is not understood or cannot be modelled; file and line are named.
        InvalidFeeder: if a file cannot be read or the script has no circuit.
    """
    script = _Script()
    for command in read_commands(path):
        script.run(command)
    circuit = next(iter(script.elements.values()), None)
    if circuit is None:
        raise InvalidFeeder(f"{path.name}: no circuit")
    ignored: dict[tuple[str, str], list[Place]] = {}
    notes = script.notes
    parts = _parts(script, circuit, ignored)
    for (kind, option), places in ignored.items():
        often = f" ({len(places)} times)" if len(places) > 1 else ""
        notes.append(f"{places[0]}: {kind} option {option} has no effect here{often}")
    file, more = assemble(parts)
    return OpenDssFeeder(file=file, notes=(*notes, *more))


def _parts(script: _Script, circuit: _Element, ignored: dict[tuple[str, str], list[Place]]) -> Parts:
    frequency_hz = circuit.base_hz if script.frequency_hz is None else script.frequency_hz
    kinds: dict[str, list[tuple[_Element, Options]]] = {kind: [] for kind in _COVERED}
    for element in script.elements.values():
        options = Options(f"{element.kind.capitalize()}.{element.name}", element.options, element.at)
        if not options.flag("enabled", default=True):
            script.notes.append(f"{element.at}: {options.name} is not enabled and left out")
            continue
        _check_frequency(element, options, frequency_hz)
        kinds[element.kind].append((element, options))

    def noted(kind: str) -> Iterator[tuple[_Element, Options]]:
        for element, options in kinds[kind]:
            yield element, options
            for name in options.ignored:
                ignored.setdefault((kind, name), []).append(options.place(name))

    transformers = []
    for element, _ in kinds["transformer"]:
        left = [o for o in element.options if o.name not in ("basefreq", "enabled")]
        found, own = read_transformer(left, element.name, element.at)
        transformers.append(found)
        for name in own.ignored:
            ignored.setdefault(("transformer", name), []).append(own.place(name))
    return Parts(
        name=circuit.name,
        at=circuit.at,
        frequency_hz=frequency_hz,
        sources=tuple(
            read_source(options, element.name, circuit=kind == "circuit")
            for kind in ("circuit", "vsource")
            for element, options in noted(kind)
        ),
        transformers=tuple(transformers),
        codes=tuple(_code(element, options) for element, options in noted("linecode")),
        lines=tuple(read_line(options, element.name) for element, options in noted("line")),
        loads=tuple(read_unit(options, element.name) for element, options in noted("load")),
        generators=tuple(read_unit(options, element.name) for element, options in noted("generator")),
    )


def _code(element: _Element, options: Options) -> CodeElement:
    conductors = options.number("nphases", 3.0)
    found = read_code(options, element.name, int(conductors), (options.text("units") or "none").lower())
    options.without_effect(("emergamps", "faultrate", "pctperm", "repair"))
    options.finish()
    return found


def _check_frequency(element: _Element, options: Options, frequency_hz: float) -> None:
    base_hz = options.number("basefreq", element.base_hz)
    if element.kind in ("circuit", "vsource"):
        base_hz = options.number("frequency", base_hz)
    if element.kind in ("load", "generator") or base_hz == frequency_hz:
        return
    raise element.at.error(
        f"{options.name}: its reactances are for {base_hz:g} Hz, the circuit runs at {frequency_hz:g} Hz and "
        f"OpenDSS would scale them; set DefaultBaseFrequency={frequency_hz:g} before the circuit"
    )


def _named(command: Command) -> tuple[str, str, tuple[Option, ...]]:
    """Class in lower case, name as written and the options of ``New Class.Name ...``."""
    if not command.options or command.options[0].name not in ("", "object"):
        raise command.at.error(f"{command.verb} needs Class.Name")
    kind, dot, name = command.options[0].value.partition(".")
    if not dot or not name:
        raise command.at.error(f"{command.options[0].value!r} is not Class.Name")
    return kind.lower(), name, command.options[1:]
