"""Notes of commits between processes: whatever they say fits into notifications and comes out again."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from vtn_server.pgline import note_texts, read_note
from vtn_server.store import Note

IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300)
SETS = st.frozensets(IDS, max_size=40)
NOTES = st.builds(
    Note,
    origin=st.just("0123456789abcdef"),
    vens=SETS,
    events=SETS,
    opts=st.frozensets(st.tuples(IDS, IDS), max_size=40),
    deliveries=SETS,
    identities=st.integers(0, 2**31 - 1),
    ping=st.integers(0, 2**31),
)
MOST_BYTES = 7999
"""What PostgreSQL takes in one notification."""


@given(NOTES)
def test_a_note_comes_out_as_it_went_in(note: Note) -> None:
    texts = list(note_texts(note))
    assert all(len(each.encode()) <= MOST_BYTES for each in texts)
    found = [read_note(each) for each in texts]
    assert {each.origin for each in found} <= {note.origin}
    assert frozenset().union(*(each.vens for each in found)) == note.vens
    assert frozenset().union(*(each.events for each in found)) == note.events
    assert frozenset().union(*(each.opts for each in found)) == note.opts
    assert frozenset().union(*(each.deliveries for each in found)) == note.deliveries
    numbers = [(each.identities, each.ping) for each in found if each.identities or each.ping]
    assert numbers == [(note.identities, note.ping)] * bool(note.identities or note.ping)
    assert not numbers or found[-1].identities == note.identities  # when it is heard, the rest was


def test_a_note_that_says_nothing_is_not_sent() -> None:
    assert list(note_texts(Note(origin="x"))) == []


def test_many_short_ids_share_a_notification() -> None:
    names = frozenset(f"ven-{number}" for number in range(250))
    texts = list(note_texts(Note(origin="x", vens=names)))
    assert len(texts) == 3
    assert all(len(json.loads(each)[1]) <= 100 for each in texts)
