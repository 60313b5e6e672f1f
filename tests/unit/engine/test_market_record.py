"""The published record of an hour's auctions, and which orders are let in."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dso_engine.intake import Arrival, OrderDecision, OrderOutcome, admit
from dso_engine.market import Order, Side, clear, sequence_number
from dso_engine.market_record import HourRecord, hour_record, record_text, verify, verify_chain
from dso_engine.model import SLOT, HomeId
from tests.unit.engine.engine_fakes import HOUR

SEED = 7
GATE = HOUR - timedelta(minutes=75)


def order(home: str, side: Side, price: int, wh: int, k: int = 0) -> Order:
    seq = sequence_number(HOUR + k * SLOT, HomeId(home), SEED)
    return Order(home=HomeId(home), side=side, price_millicent=price, volume_wh=wh, seq=seq)


def book(k: int = 0) -> tuple[Order, ...]:
    """Winners: buyers 30 + 10 = 40, seller 20; b3 and s2 are critical."""
    rows = [("b1", 100, 30), ("b2", 90, 10), ("b3", 80, 100)]
    asks = [("s1", 10, 20), ("s2", 20, 50)]
    return (
        *(order(h, Side.BUY, p, v, k) for h, p, v in rows),
        *(order(h, Side.SELL, p, v, k) for h, p, v in asks),
    )


def record(previous: str | None = None, hours: int = 0) -> HourRecord:
    """Six auctions; in the second nobody offered anything, in the first an order did not count."""
    bad = OrderDecision(order=order("b9", Side.BUY, 1, 0), outcome=OrderOutcome.BAD_VOLUME)
    auctions = []
    for k in range(6):
        orders = () if k == 1 else book(6 * hours + k)
        auctions.append((HOUR + (6 * hours + k) * SLOT, orders, clear(orders), (bad,) if k == 0 else ()))
    return hour_record(
        hour=HOUR + timedelta(hours=hours),
        product="intraday",
        seed=SEED,
        previous=previous,
        auctions=auctions,
    )


def tree(of: HourRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record_text(of))
    return found


def test_a_record_says_all_about_an_auction() -> None:
    first = tree(record())["auctions"][0]
    assert (first["critical_buyer"], first["critical_seller"]) == ("b3", "s2")
    assert (first["bid_price_millicent"], first["ask_price_millicent"]) == (80, 20)
    # bids cover 140 Wh, asks 70 Wh, all of it crosses; the critical pair's own is not traded
    assert (first["demanded_wh"], first["offered_wh"], first["matched_wh"], first["traded_wh"]) == (
        140,
        70,
        70,
        20,
    )
    assert (first["short_wh"], first["long_wh"]) == (20, 40)
    assert first["buyers"] == {
        "offered_wh": 40,
        "rationed": True,
        "shares": [
            {"home": "b1", "offered_wh": 30, "floor_wh": 15, "remainder": 0, "allotted_wh": 15},
            {"home": "b2", "offered_wh": 10, "floor_wh": 5, "remainder": 0, "allotted_wh": 5},
        ],
    }
    assert first["sellers"]["rationed"] is False
    assert first["refused"] == [{"home": "b9", "order": "buy 0 Wh at 1", "reason": "bad_volume"}]


def test_a_sound_record_is_found_sound() -> None:
    verdict = verify(record_text(record()))
    assert verdict.findings == ()
    assert verdict.sound
    assert verdict.record == record()


def test_a_forged_result_is_named_where_it_is_forged() -> None:
    forged = tree(record())
    forged["auctions"][0]["buyers"]["shares"][0]["allotted_wh"] = 16
    findings = verify(json.dumps(forged)).findings
    assert [f.where for f in findings] == ["seal", "auctions[0].buyers.shares[0].allotted_wh"]
    assert findings[1].text == "is 16, but the rules give 15"


def test_a_sequence_number_the_auctioneer_chose_is_found() -> None:
    """Sealed by the auctioneer himself: only the hash gives him away."""
    orders = tuple(replace(o, seq=5) if o.home == "b1" else o for o in book())
    rest = [(HOUR + k * SLOT, (), clear(()), ()) for k in range(1, 6)]
    forged = hour_record(
        hour=HOUR,
        product="intraday",
        seed=SEED,
        previous=None,
        auctions=[(HOUR, orders, clear(orders), ()), *rest],
    )
    assert [f.where for f in verify(record_text(forged)).findings] == ["auctions[0].orders, home b1: seq"]


def test_two_orders_of_a_home_are_found() -> None:
    forged = tree(record())
    orders = forged["auctions"][0]["orders"]
    orders.append(orders[0])
    findings = verify(json.dumps(forged)).findings
    assert any("b1 has more than one order" in f.text for f in findings)


def test_an_auction_left_out_is_found() -> None:
    short = tree(record())
    del short["auctions"][5]
    assert any(f.where == "auctions" for f in verify(json.dumps(short)).findings)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"format": "something else"}', b"\xff\xfe", '"\\ud800"']
)
def test_what_is_no_record_is_a_verdict_too(text: str | bytes) -> None:
    verdict = verify(text)
    assert not verdict.sound
    assert verdict.record is None


def test_an_unknown_key_or_a_lone_surrogate_is_refused() -> None:
    more = tree(record()) | {"note": "all is well"}
    assert not verify(json.dumps(more)).sound
    odd = tree(record())
    odd["auctions"][0]["orders"][0]["home"] = "\ud800"
    assert not verify(json.dumps(odd)).sound


def test_records_hold_each_others_seals() -> None:
    first = record()
    second = record(first.seal, 1)
    assert verify_chain([second, first]) == ()
    other = record("0" * 64, 1)
    assert [f.where for f in verify_chain([first, other])] == ["intraday 2018-05-16T12:00:00+00:00: previous"]


def test_a_day_ahead_record_has_one_auction() -> None:
    orders = book()
    sealed = hour_record(
        hour=HOUR,
        product="day_ahead",
        seed=SEED,
        previous=None,
        auctions=[(HOUR, orders, clear(orders), ())],
    )
    assert verify(record_text(sealed)).sound


# --- intake ------------------------------------------------------------------------------------------------


def outcomes(*arrivals: Arrival) -> list[str]:
    return [each.outcome.value for each in admit(arrivals, GATE).decisions]


def test_the_last_order_before_the_gate_counts() -> None:
    early, late = order("a", Side.BUY, 10, 5), order("a", Side.SELL, 12, 6)
    after = order("a", Side.BUY, 99, 99)
    taken = admit(
        [
            Arrival(order=early, at=GATE - timedelta(minutes=5)),
            Arrival(order=order("b", Side.SELL, 3, 4)),
            Arrival(order=late, at=GATE - timedelta(microseconds=1)),
            Arrival(order=after, at=GATE),
        ],
        GATE,
    )
    assert [d.outcome for d in taken.decisions] == [
        OrderOutcome.REPLACED,
        OrderOutcome.COUNTED,
        OrderOutcome.COUNTED,
        OrderOutcome.TOO_LATE,
    ]
    assert [(o.home, o.price_millicent) for o in taken.orders] == [("b", 3), ("a", 12)]
    assert [d.order for d in taken.refused] == [early, after]


@pytest.mark.parametrize(
    ("bad", "outcome"),
    [
        ({"volume_wh": 0}, "bad_volume"),
        ({"volume_wh": -3}, "bad_volume"),
        ({"volume_wh": 2.0}, "bad_volume"),
        ({"volume_wh": True}, "bad_volume"),
        ({"volume_wh": 10**9 + 1}, "bad_volume"),
        ({"price_millicent": None}, "bad_price"),
        ({"price_millicent": -(10**9) - 1}, "bad_price"),
        ({"seq": -1}, "bad_sequence"),
        ({"seq": 2**63}, "bad_sequence"),
    ],
)
def test_an_order_that_breaks_a_rule_replaces_nothing(bad: dict[str, Any], outcome: str) -> None:
    good = order("a", Side.BUY, 10, 5)
    assert outcomes(Arrival(order=good), Arrival(order=replace(good, **bad))) == ["counted", outcome]


def test_what_is_let_in_can_always_be_cleared() -> None:
    mess = [
        order("a", Side.BUY, 10, 5),
        order("a", Side.BUY, 10, 5),
        replace(order("b", Side.SELL, 1, 1), volume_wh=0),
        order("b", Side.SELL, 1, 1),
    ]
    taken = admit([Arrival(order=each) for each in mess], GATE)
    assert clear(taken.orders).demanded_wh == 5
    assert len(taken.decisions) == 4
