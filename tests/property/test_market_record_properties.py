"""A record of an hour is sound, and a change of any of its fields shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.market import Order, Side, clear, sequence_number
from dso_engine.market_record import hour_record, record_text, verify
from dso_engine.model import SLOT, HomeId

HOUR = datetime(2018, 5, 16, 11, tzinfo=UTC)


@st.composite
def records(draw: st.DrawFn) -> str:
    auctions = []
    for k in range(6):
        slot = HOUR + k * SLOT
        orders = tuple(
            Order(
                home=HomeId(f"H{i}"),
                side=draw(st.sampled_from(Side)),
                price_millicent=draw(st.integers(-3, 6)),
                volume_wh=draw(st.integers(1, 9)),
                seq=sequence_number(slot, HomeId(f"H{i}"), 3),
            )
            for i in range(draw(st.integers(0, 7)))
        )
        auctions.append((slot, orders, clear(orders), ()))
    previous = draw(st.none() | st.just("ab" * 32))
    return record_text(
        hour_record(hour=HOUR, product="intraday", seed=3, previous=previous, auctions=auctions)
    )


def leaves(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) whose value is no container."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield tree, key


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "H0"
    swap = {"buy": "sell", "sell": "buy", "traded": "no_winner", "intraday": "day_ahead"}
    if value in swap:
        return swap[value]
    if value.endswith("Z"):
        return value.replace("2018", "2019")
    return value + "0"


@settings(max_examples=60, deadline=None)
@given(records(), st.data())
def test_every_change_of_a_field_shows(text: str, data: st.DataObject) -> None:
    assert verify(text).sound
    tree = json.loads(text)
    container, key = data.draw(st.sampled_from(list(leaves(tree))))
    container[key] = other(container[key])
    assert not verify(json.dumps(tree)).sound


@settings(max_examples=60, deadline=None)
@given(records(), st.data())
def test_every_change_of_a_result_shows_whatever_the_seal(text: str, data: st.DataObject) -> None:
    """What the rules derive is checked against the rules, not only against the seal."""
    tree = json.loads(text)
    inputs = {"seal", "seed", "previous", "hour", "format", "product", "slot"}
    derived = [
        (box, key)
        for auction in tree["auctions"]
        for box, key in leaves({k: v for k, v in auction.items() if k not in {"orders", "refused", "slot"}})
        if key not in inputs
    ]
    nested = [(box, key) for box, key in derived if "shares" in box or "allotted_wh" in box]
    if not nested:
        return
    container, key = data.draw(st.sampled_from(nested))
    container[key] = other(container[key])
    findings = verify(json.dumps(tree)).findings
    assert any(finding.where.startswith("auctions") for finding in findings)


@settings(max_examples=40, deadline=None)
@given(records(), st.data())
def test_an_entry_left_out_or_doubled_shows(text: str, data: st.DataObject) -> None:
    tree = json.loads(text)
    auction = tree["auctions"][data.draw(st.integers(0, 5))]
    lists = [auction["orders"], auction["buyers"]["shares"], auction["sellers"]["shares"]]
    filled = [each for each in lists if each]
    if not filled:
        return
    chosen = data.draw(st.sampled_from(filled))
    if data.draw(st.booleans()):
        del chosen[data.draw(st.integers(0, len(chosen) - 1))]
    else:
        chosen.append(chosen[0])
    assert not verify(json.dumps(tree)).sound
