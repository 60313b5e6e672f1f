"""The text of an OpenDSS script: lines become commands, nothing is interpreted yet.

Understood: comments (``!``, ``//``, ``/* */`` blocks), continuation lines (``~`` or ``more``), values in
quotes or brackets, ``redirect`` and ``compile`` of files below the folder of the first one, and assignments
without a command (``Line.l1.length=20``), which become an ``edit``. Names are not case-sensitive and come out
in lower case, values as they stand.

Source: grid-model.md 1 (the subset), OpenDSS manual, "Command syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from dso_engine.errors import InvalidFeeder, InvalidScript

__all__ = ["Command", "Option", "Place", "read_commands"]

_CLOSING: Final = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'"}
_CONTINUES: Final = re.compile(r"^(~|more\b|m\b)", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\s,=]+")
_LARGEST_FILE: Final = 20_000_000
_MOST_COMMANDS: Final = 2_000_000
_INCLUDES: Final = frozenset({"redirect", "compile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"

    def error(self, reason: str) -> InvalidScript:
        """The error that something at this place is not understood."""
        return InvalidScript(self.file, self.line, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """``name=value``, or a value alone, whose name is then empty."""

    name: str
    """In lower case."""
    value: str
    """Without the quotes or brackets around it."""
    at: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command with its continuation lines."""

    verb: str
    """In lower case."""
    options: tuple[Option, ...]
    at: Place


def read_commands(path: Path) -> tuple[Command, ...]:
    """All commands of a script and of the files it includes, in order.

    Raises:
        InvalidFeeder: if a file cannot be read, or files include each other so often that nobody means it.
        InvalidScript: if the text is not a script, or a file is included that is outside the folder, or that
            is being read already.
    """
    found = tuple(islice(_commands(path.resolve(), path.resolve().parent, ()), _MOST_COMMANDS + 1))
    if len(found) > _MOST_COMMANDS:
        raise InvalidFeeder(
            f"{path.name}: more than {_MOST_COMMANDS} commands, those of included files counted"
        )
    return found


def _commands(path: Path, root: Path, parents: tuple[Path, ...]) -> Iterator[Command]:
    for command in _joined(path, str(path.relative_to(root))):
        if command.verb not in _INCLUDES:
            yield command
            continue
        if len(command.options) != 1:
            raise command.at.error(f"{command.verb} needs one file name")
        name = command.options[0].value.replace("\\", "/")
        wanted = _as_spelled((path.parent / name).resolve())
        if not wanted.is_relative_to(root):
            raise command.at.error(f"{name} is outside the folder of the script")
        if wanted in (*parents, path):
            raise command.at.error(f"{name} includes itself")
        if not wanted.is_file():
            raise command.at.error(f"there is no file {name}")
        yield from _commands(wanted, root, (*parents, path))


def _as_spelled(path: Path) -> Path:
    """The file of this name in its folder, in any case: scripts come from systems that do not see it."""
    if path.exists() or not path.parent.is_dir():
        return path
    alike = [each for each in path.parent.iterdir() if each.name.lower() == path.name.lower()]
    return alike[0].resolve() if len(alike) == 1 else path


def _joined(path: Path, name: str) -> Iterator[Command]:
    pending: Command | None = None
    for place, line in _lines(path, name):
        more = _CONTINUES.match(line)
        if more is not None:
            if pending is None:
                raise place.error("a continuation of nothing")
            options = (*pending.options, *_options(line[more.end() :], place))
            pending = Command(verb=pending.verb, options=options, at=pending.at)
            continue
        if pending is not None:
            yield pending
        pending = _command(line, place)
    if pending is not None:
        yield pending


def _command(line: str, place: Place) -> Command:
    verb, *rest = line.split(None, 1)
    if "=" not in verb and not "".join(rest).startswith("="):
        return Command(verb=verb.lower(), options=_options("".join(rest), place), at=place)
    first, *more = _options(line, place)
    element, dot, option = first.name.rpartition(".")
    if not dot or "." not in element:
        raise place.error(f"{verb}: only Class.Name.option=value is understood without a command")
    named = Option(name="", value=element, at=place)
    return Command(verb="edit", options=(named, replace(first, name=option), *more), at=place)


def _lines(path: Path, name: str) -> Iterator[tuple[Place, str]]:
    """Lines that say something, with their place."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidFeeder(f"{name}: larger than {_LARGEST_FILE // 1_000_000} MB")
        content = path.read_bytes()
    except OSError as err:
        raise InvalidFeeder(f"{name}: cannot be read: {err.strerror}") from err
    if b"\0" in content:
        raise InvalidFeeder(f"{name}: not a text in UTF-8 or Windows-1252")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what OpenDSS's own editor wrote for decades
    in_block: Place | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        place = Place(file=name, line=number)
        if in_block is None and line.lstrip().startswith("/*"):
            in_block = place
        if in_block is None:
            if said := _without_comment(line, place).strip():
                yield place, said
        elif "*/" in line:
            in_block = None
    if in_block is not None:
        raise in_block.error("a comment that does not end")


def _without_comment(line: str, place: Place) -> str:
    closing = ""
    for position, letter in enumerate(line):
        if closing:
            closing = "" if letter == closing else closing
        elif letter == "!" or line.startswith("//", position):
            return line[:position]
        else:
            closing = _CLOSING.get(letter, "")
    if closing:
        raise place.error(f"{closing} is missing")
    return line


def _options(text: str, place: Place) -> tuple[Option, ...]:
    found: list[Option] = []
    position = _skip(text, 0)
    while position < len(text):
        first, position = _value(text, position, place)
        after = _skip_blanks(text, position)
        if after < len(text) and text[after] == "=":
            start = _skip_blanks(text, after + 1)
            if start == len(text):
                raise place.error(f"{first}= has no value")
            value, position = _value(text, start, place)
            found.append(Option(name=first.lower(), value=value, at=place))
        else:
            found.append(Option(name="", value=first, at=place))
        position = _skip(text, position)
    return tuple(found)


def _value(text: str, start: int, place: Place) -> tuple[str, int]:
    """A word or what stands in quotes or brackets, and the position after it."""
    closing = _CLOSING.get(text[start])
    if closing is not None:
        end = text.find(closing, start + 1)
        if end < 0:
            raise place.error(f"{closing} is missing")
        return text[start + 1 : end].strip(), end + 1
    word = _WORD.match(text, start)
    if word is None:
        raise place.error(f"{text[start : start + 10]!r} is not understood")
    return word.group(), word.end()


def _skip(text: str, position: int) -> int:
    while position < len(text) and (text[position].isspace() or text[position] == ","):
        position += 1
    return position


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
