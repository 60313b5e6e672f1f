"""The commands of an OpenDSS script obeyed: elements as they stand at its end.

Source: OpenDSS manual (commands); what ``like`` copies was tried in OpenDSS 9 (DSS C-API 0.14.5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from dso_engine.opendss_properties import ORDER, named_options, set_name
from dso_engine.opendss_text import Command, Option, Place

__all__ = ["Element", "Script"]

_MEASURES: Final = frozenset(
    {"energymeter", "monitor", "sensor", "loadshape", "growthshape", "spectrum", "tcc_curve", "xycurve"}
    | {"tshape", "priceshape"}
)
_RUNS: Final = frozenset(
    {"solve", "calcvoltagebases", "calcv", "buscoords", "show", "export", "plot", "visualize", "sample"}
    | {
        "latlongcoords",
        "setkvbase",
        "closedi",
        "reset",
        "summary",
        "?",
        "get",
        "help",
        "about",
        "interpolate",
    }
    | {"makebuslist", "resetmeters", "resetmonitors", "addbusmarker", "clearbusmarkers", "interpolate"}
)
_SETS_NOTHING: Final = frozenset(
    {"mode", "voltagebases", "tolerance", "maxiterations", "maxcontroliter", "controlmode", "algorithm"}
    | {"number", "stepsize", "time", "hour", "sec", "datapath", "editor", "year", "demandinterval", "random"}
    | {"casename", "normvminpu", "normvmaxpu", "emergvminpu", "emergvmaxpu", "overloadreport", "diverbose"}
    | {"voltexceptionreport", "nodewidth", "markercode", "daisysize", "zonelock", "miniterations"}
    | {"showexport", "pricesignal", "totaltime", "allowduplicates"}
)
_MULTIPLIES: Final = frozenset({"loadmult", "genmult"})
_OPENDSS_HZ: Final = 60.0
"""What OpenDSS assumes where nobody says anything."""


@dataclass(slots=True, kw_only=True)
class Element:
    """One element, with all that was said about it."""

    kind: str
    name: str
    """As written."""
    options: list[Option]
    """By full name, in the order of the script."""
    at: Place
    base_hz: float
    """The default when it was made."""


@dataclass(slots=True)
class Script:
    """Elements as they stand at the end of the script."""

    base_hz: float = _OPENDSS_HZ
    frequency_hz: float | None = None
    elements: dict[tuple[str, str], Element] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def run(self, command: Command) -> None:
        """Obey one command.

        Raises:
            InvalidScript: if it is not understood.
        """
        match command.verb:
            case "clear" | "clearall":
                self.elements.clear()
                self.frequency_hz = None
            case "new":
                self._new(command)
            case "edit":
                self._edit(command)
            case "batchedit":
                self._batch(command)
            case "enable" | "disable":
                self._enable(command)
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
        if kind not in ORDER:
            raise command.at.error(f"{kind} {name} is not understood; only {', '.join(ORDER)} are")
        if kind == "circuit" and self.elements:
            raise command.at.error("a second circuit, or elements before it")
        if kind != "circuit" and not self.elements:
            raise command.at.error(f"{kind} {name} before the circuit")
        if (kind, name.lower()) in self.elements:
            raise command.at.error(f"{kind} {name} is there already")
        element = Element(kind=kind, name=name, options=[], at=command.at, base_hz=self.base_hz)
        self._add(element, options)
        self.elements[kind, name.lower()] = element

    def _add(self, element: Element, options: tuple[Option, ...]) -> None:
        label = f"{element.kind.capitalize()}.{element.name}"
        for option in named_options(element.kind, label, options):
            element.options += self._like(element, label, option) if option.name == "like" else (option,)

    def _like(self, element: Element, label: str, like: Option) -> tuple[Option, ...]:
        """What ``like`` copies: of a load all but its bus. Of others OpenDSS copies less than it seems."""
        if element.kind != "load":
            raise like.at.error(f"{label}: like is not understood for a {element.kind}; repeat the options")
        other = self.elements.get((element.kind, like.value.lower()))
        if other is None:
            raise like.at.error(f"{label}: there is no {element.kind} {like.value}")
        return tuple(option for option in other.options if option.name != "bus1")

    def _edit(self, command: Command) -> None:
        kind, name, options = _named(command)
        if kind in _MEASURES:
            self.notes.append(f"{command.at}: {kind} {name} does not change the network")
            return
        self._add(self._known(command, kind, name), options)

    def _known(self, command: Command, kind: str, name: str) -> Element:
        if (kind, name.lower()) == ("vsource", "source"):
            element = next(iter(self.elements.values()), None)  # the circuit's own source
        else:
            element = self.elements.get((kind, name.lower()))
        if element is None:
            raise command.at.error(f"there is no {kind} {name} to {command.verb}")
        return element

    def _batch(self, command: Command) -> None:
        """Edits all elements of a class in whose name a pattern is found, in any case."""
        kind, pattern, options = _named(command)
        if kind in _MEASURES:
            self.notes.append(f"{command.at}: {kind} {pattern} does not change the network")
            return
        try:
            wanted = re.compile(pattern, re.IGNORECASE)
        except re.error as err:
            raise command.at.error(f"{pattern} is not a pattern: {err}") from err
        for element in self.elements.values():
            if element.kind == kind and wanted.search(element.name):
                self._add(element, options)

    def _enable(self, command: Command) -> None:
        kind, name, _ = _named(command)
        element = self._known(command, kind, name)
        value = "yes" if command.verb == "enable" else "no"
        element.options.append(Option(name="enabled", value=value, at=command.at))

    def _set(self, command: Command) -> None:
        for option in command.options:
            name = set_name(option)
            if name in ("defaultbasefrequency", "frequency"):
                if name == "frequency":
                    self.frequency_hz = _number(option)
                else:
                    self.base_hz = _number(option)
            elif name in _SETS_NOTHING or (name in _MULTIPLIES and _number(option) == 1.0):
                self.notes.append(f"{option.at}: set {name} does not change the network")
            else:
                raise option.at.error(f"set {option.name or option.value} is not understood")


def _number(option: Option) -> float:
    try:
        return float(option.value)
    except ValueError:
        raise option.at.error(f"{option.name}={option.value} is not a number") from None


def _named(command: Command) -> tuple[str, str, tuple[Option, ...]]:
    """Class in lower case, name as written and the options of ``New Class.Name ...``."""
    if not command.options or command.options[0].name not in ("", "object"):
        raise command.at.error(f"{command.verb} needs Class.Name")
    kind, dot, name = command.options[0].value.partition(".")
    if not dot or not name:
        raise command.at.error(f"{command.options[0].value!r} is not Class.Name")
    return kind.lower(), name, command.options[1:]
