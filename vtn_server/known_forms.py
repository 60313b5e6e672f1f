"""Messages that differ from one that was read before in times, values and ids only: they need not be parsed.

A meter sends the same document over and over; a VEN asks for its events, and answers them, in the same words
each time. So a body is cut up at the texts of its leaves; what lies
between them is its *form*, and what a form says is found out once. Texts are of these kinds, by the name of
their element: ids, times, numbers, counts, and all others, which are part of the form.

*Why that is the same message.* Two bodies of one form are equal byte for byte but for such texts.
A text is printable ASCII without blanks and without ``<``, ``>`` and ``&``, between the end of a tag and the
next end tag. A form is learned from a body that went the whole way and that has no comments, processing
instructions, character data sections or references; so a parser sees the same tree for all bodies of a form,
with other texts in these elements, and the schema judges each of them on its own. It takes any text for an
id; of times, numbers and counts only the plainest are taken here, which are a part of what it takes. Where a
text belongs in the message is not concluded but tried: a probe of the form, with a mark for each text, goes
the whole way, and each mark has to turn up in exactly one place, with its own type. At last the body the form
was learned from must come out as the whole way read it.

Whatever is not exactly so is not known here, and goes the whole way: this can only accept. A form is learned
when it comes for the second time. Only bodies whose signature nobody looks at are kept.
"""

from __future__ import annotations

import dataclasses
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from schemas.oadr20b.errors import WireError
from schemas.oadr20b.model import (
    AnyMessage,
    CreatedEvent,
    CreatePartyRegistration,
    RequestEvent,
    UpdateReport,
)

__all__ = ["COUNT_NAMES", "ID_NAMES", "NUMBER_NAMES", "TIME_NAMES", "KnownForms"]

ID_NAMES: Final = (
    "requestID",
    "venID",
    "rID",
    "eiReportID",
    "reportRequestID",
    "reportSpecifierID",
    "oadrVenName",
    "eventID",
)
"""Elements for which the schema takes any text."""
TIME_NAMES: Final = ("date-time", "createdDateTime")
NUMBER_NAMES: Final = ("value",)
COUNT_NAMES: Final = ("modificationNumber",)

_REPEATING: Final = (UpdateReport, CreatePartyRegistration, RequestEvent, CreatedEvent)
_MOST_BYTES: Final = 40_000
"""A report of two hours in minutes."""
_KEPT_BYTES: Final = 1_000_000
"""Of the bodies whose forms are remembered; these take five times as much."""
_SEEN: Final = 1000
_TEXT: Final = re.compile(r">([!-%'-;=?-~]+)</")
_START_TAG: Final = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_.-]*:)?([A-Za-z-]+)")
_TIMES: Final = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z,)*")
_NUMBERS: Final = re.compile(r"(?:-?[0-9]{1,15}(?:\.[0-9]{1,15})?,)*")
_COUNTS: Final = re.compile(r"(?:[0-9]{1,9},)*")
_FIRST_TIME: Final = datetime(2001, 1, 1, tzinfo=UTC)
_FIRST_NUMBER: Final = 7_000_000.5
_FIRST_COUNT: Final = 800_000_000

Outside: TypeAlias = tuple[str, ...]
Build: TypeAlias = Callable[[Sequence[object]], Any]
"""Makes a part of a message from the values of all texts."""


class _Kind(Enum):
    ID = auto()
    TIME = auto()
    NUMBER = auto()
    COUNT = auto()
    FIXED = auto()


_KINDS: Final = {
    **dict.fromkeys(ID_NAMES, _Kind.ID),
    **dict.fromkeys(TIME_NAMES, _Kind.TIME),
    **dict.fromkeys(NUMBER_NAMES, _Kind.NUMBER),
    **dict.fromkeys(COUNT_NAMES, _Kind.COUNT),
}


@dataclass(frozen=True, slots=True)
class _Cut:
    """Which texts of a body are what, by their number.

    Attributes:
        typed: The kinds that are more than text, as far as there are any: how they look, and what they mean.
    """

    times: tuple[int, ...]
    numbers: tuple[int, ...]
    counts: tuple[int, ...]
    fixed: tuple[int, ...]
    ids: tuple[int, ...]
    typed: tuple[tuple[tuple[int, ...], re.Pattern[str], Callable[[str], object]], ...]

    @classmethod
    def of(cls, outside: Outside) -> _Cut:
        """Return what the names before the texts say."""
        kinds = [_kind(before) for before in outside[:-1]]

        def those(wanted: _Kind) -> tuple[int, ...]:
            return tuple(number for number, kind in enumerate(kinds) if kind is wanted)

        times, numbers, counts = those(_Kind.TIME), those(_Kind.NUMBER), those(_Kind.COUNT)
        typed = ((times, _TIMES, datetime.fromisoformat), (numbers, _NUMBERS, float), (counts, _COUNTS, int))
        return cls(
            times=times,
            numbers=numbers,
            counts=counts,
            fixed=those(_Kind.FIXED),
            ids=those(_Kind.ID),
            typed=tuple(each for each in typed if each[0]),
        )


def _kind(before: str) -> _Kind:
    """Return the kind of the text after a piece of a body that ends within a start tag."""
    tag = _START_TAG.fullmatch(before.rpartition("<")[2])
    return _Kind.FIXED if tag is None else _KINDS.get(tag[1], _Kind.FIXED)


@dataclass(frozen=True, slots=True)
class _Form:
    build: Build
    size: int


class KnownForms:
    """The forms that were seen last, of the messages that are neither polls nor rare.

    Args:
        read: The whole way: bytes to a message, or a :class:`WireError`.
        max_bytes: The longest body that the whole way takes.
    """

    def __init__(self, read: Callable[[bytes], AnyMessage], *, max_bytes: int) -> None:
        self._read: Final = read
        self._most_bytes: Final = min(max_bytes, _MOST_BYTES)
        self._cuts: Final[dict[Outside, _Cut]] = {}
        self._forms: Final[OrderedDict[tuple[Outside, Outside], _Form]] = OrderedDict()
        self._seen: Final[set[int]] = set()
        self._size = 0

    def __len__(self) -> int:
        return len(self._forms)

    def find(self, body: bytes) -> AnyMessage | None:
        """Return what a body says, if its form is known."""
        if len(body) > self._most_bytes or not body.isascii():
            return None
        pieces = _TEXT.split(body.decode("ascii"))
        outside, texts = tuple(pieces[::2]), pieces[1::2]
        cut = self._cuts.get(outside)
        if cut is None:
            return None
        key = (outside, tuple([texts[number] for number in cut.fixed]))
        form = self._forms.get(key)
        if form is None:
            return None
        self._forms.move_to_end(key)
        values = _values(texts, cut)
        message: AnyMessage | None = None if values is None else form.build(values)
        return message

    def learn(self, body: bytes, message: AnyMessage) -> None:
        """Remember the form of a body that was read, if others like it came before.

        Args:
            body: As it came.
            message: What it says.
        """
        if not isinstance(message, _REPEATING) or len(body) > self._most_bytes or not _only_tags(body):
            return
        pieces = _TEXT.split(body.decode("ascii"))
        outside, texts = tuple(pieces[::2]), pieces[1::2]
        cut = _Cut.of(outside)
        key = (outside, tuple([texts[number] for number in cut.fixed]))
        if key in self._forms or not self._comes_again(key):
            return
        build = self._tried(outside, texts, cut)
        values = _values(texts, cut)
        if build is None or values is None or build(values) != message:
            return
        self._cuts[outside] = cut
        self._forms[key] = _Form(build, len(body))
        self._size += len(body)
        while self._size > _KEPT_BYTES:
            self._forget_one()

    def _comes_again(self, key: tuple[Outside, Outside]) -> bool:
        mark = hash(key)
        if mark in self._seen:
            return True
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(mark)
        return False

    def _tried(self, outside: Outside, texts: Sequence[str], cut: _Cut) -> Build | None:
        """Return what makes the message of a form, found out with a probe."""
        probe = list(texts)
        places: dict[object, int] = {}
        for number in cut.ids:
            probe[number] = f"mark{number}here"
            places[probe[number]] = number
        for number in cut.times:
            moment = _FIRST_TIME + timedelta(seconds=number)
            probe[number] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            places[moment] = number
        for number in cut.numbers:
            probe[number] = str(_FIRST_NUMBER + number)
            places[_FIRST_NUMBER + number] = number
        for number in cut.counts:
            probe[number] = str(_FIRST_COUNT + number)
            places[_FIRST_COUNT + number] = number
        body = (
            "".join(f"{before}>{text}</" for before, text in zip(outside, probe, strict=False)) + outside[-1]
        )
        try:
            probed = self._read(body.encode("ascii"))
        except WireError:
            return None
        found: list[int] = []
        build = _part(probed, places, found)
        return build if callable(build) and sorted(found) == sorted(places.values()) else None

    def _forget_one(self) -> None:
        (outside, _), form = self._forms.popitem(last=False)
        self._size -= form.size
        if all(each != outside for each, _ in self._forms):
            del self._cuts[outside]


def _only_tags(body: bytes) -> bool:
    """Return whether all angle brackets of a well-formed body belong to tags and the XML declaration."""
    declarations = 1 if body.startswith(b"<?xml ") else 0
    plain = body.isascii() and b"<!" not in body and b"&" not in body and body.count(b"<?") == declarations
    return plain and body.count(b"<") == body.count(b">")


def _values(texts: Sequence[str], cut: _Cut) -> Sequence[object] | None:
    """Return what the texts mean; None where one of them is not of the plainest."""
    values: list[object] = list(texts)
    for numbers, plain, read in cut.typed:
        some = [texts[number] for number in numbers]
        if not plain.fullmatch(",".join((*some, ""))):
            return None
        try:
            for number, text in zip(numbers, some, strict=True):
                values[number] = read(text)
        except ValueError:  # a day that no calendar has; a text that has the comma itself
            return None
    return values


# --- from values to a message ------------------------------------------------------------------------------


def _part(value: object, places: Mapping[object, int], found: list[int]) -> Build | int | None:
    """Return what makes a part of the message, or the number of its text; None if it is always the same."""
    if type(value) in (str, int, float, datetime):
        number = places.get(value)
        if number is not None:
            found.append(number)
        return number
    if isinstance(value, tuple):
        return _tuple([(each, _part(each, places, found)) for each in value])
    if dataclasses.is_dataclass(value):
        return _object(value, places, found)
    return None


def _tuple(items: Sequence[tuple[object, Build | int | None]]) -> Build | None:
    if all(made is None for _, made in items):
        return None
    makers = [_maker(each, made) for each, made in items]
    return lambda values: tuple([make(values) for make in makers])


def _maker(same: object, made: Build | int | None) -> Build:
    if made is None:
        return lambda values: same
    return (lambda values: values[made]) if isinstance(made, int) else made


def _object(value: Any, places: Mapping[object, int], found: list[int]) -> Build | None:  # noqa: ANN401
    cls = type(value)
    parts = {each.name: getattr(value, each.name) for each in dataclasses.fields(cls)}
    made = {name: _part(part, places, found) for name, part in parts.items()}
    texts = [(name, each) for name, each in made.items() if isinstance(each, int)]
    inner = [(name, each) for name, each in made.items() if callable(each)]
    if not texts and not inner:
        return None
    same = {name: part for name, part in parts.items() if made[name] is None}

    def build(values: Sequence[object]) -> object:
        own = same.copy()
        for name, number in texts:
            own[name] = values[number]
        for name, make in inner:
            own[name] = make(values)
        return cls(**own)

    return build
