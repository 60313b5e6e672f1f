"""Equal parts of aggregates are one object; nothing of what they say changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.unit.vtn.rig import ALICE, BOB, SETTINGS, MemoryStore, Rig, draft, metadata, wanted
from vtn_server.event import publish
from vtn_server.jsonform import JsonForm
from vtn_server.records import EventRecord
from vtn_server.rows import RowForms
from vtn_server.sharing import Shared
from vtn_server.state import Ven, VenId


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    one: Part
    other: Part


def copy_of(ven: Ven) -> Ven:
    """An equal VEN that has nothing in common with the other."""
    form = JsonForm(Ven)
    return form.loads(form.dumps(ven))


async def announced() -> Ven:
    rig = await Rig(MemoryStore(), SETTINGS).start()
    await rig.bootstrap("alice", (metadata(),))
    await rig.operator.request_reports(ALICE, [wanted()])
    ven = rig.service.memory.ven(ALICE)
    assert ven is not None
    assert ven.metadata[0].descriptions
    assert ven.requests
    return ven


async def test_two_vens_of_one_make_hold_the_same_parts() -> None:
    alice = await announced()
    shared = Shared()
    first = shared.of(copy_of(alice), None)
    second = shared.of(replace(copy_of(alice), ven_id=BOB), None)
    assert first == alice
    assert second == replace(alice, ven_id=BOB)
    assert second.metadata[0].descriptions[0] is first.metadata[0].descriptions[0]
    assert second.requests[0].request.specifier is first.requests[0].request.specifier


async def test_what_a_ven_had_before_is_not_looked_at_again() -> None:
    alice = await announced()
    shared = Shared()
    first = shared.of(copy_of(alice), None)
    later = replace(first, version=first.version + 1)
    assert shared.of(later, first) is later


async def test_a_description_that_differs_stays_different() -> None:
    alice = await announced()
    shared = Shared()
    shared.of(copy_of(alice), None)
    report = alice.metadata[0]
    other = replace(report.descriptions[0], r_id="another")
    changed = replace(alice, metadata=(replace(report, descriptions=(other,)),))
    assert shared.of(copy_of(changed), None) == changed


async def test_the_table_is_bounded() -> None:
    alice = await announced()
    shared = Shared(most=3)
    report = alice.metadata[0]
    for k in range(20):
        other = replace(report.descriptions[0], r_id=f"r{k}")
        ven = replace(copy_of(alice), metadata=(replace(report, descriptions=(other,)),), requests=())
        assert shared.of(ven, None) == ven
        assert len(shared) <= 3


def event(number: int, vens: int) -> EventRecord:
    audience = tuple(VenId(f"ven-{k}") for k in range(vens))
    whole = replace(draft(f"e{number}"), audience=audience)
    return publish(whole, whole.dtstart)


def test_events_for_the_same_vens_hold_one_audience() -> None:
    shared = Shared()
    first = shared.of_event(event(1, 20))
    second = shared.of_event(event(2, 20))
    assert second == event(2, 20)
    assert second.audience is first.audience
    assert shared.of_event(event(3, 21)).audience is not first.audience


async def test_a_store_reads_equal_texts_once() -> None:
    alice = await announced()
    forms = RowForms()
    body = str(forms.ven_row(alice)["body"])
    first, second = forms.ven(body), forms.ven(body.replace(ALICE, BOB))
    assert first == alice
    assert second.metadata[0].descriptions[0] is first.metadata[0].descriptions[0]
    assert second.requests[0].request.specifier is first.requests[0].request.specifier
    assert forms.ven(body) == alice


def test_numbers_of_another_kind_are_not_taken_for_the_same() -> None:
    form = JsonForm(Pair, shared=(Part,))
    found = form.loads('{"one":{"value":1},"other":{"value":true}}')
    assert found.one.value == 1
    assert found.other is not found.one
