"""The published record of an hour's auctions: what came in, what the rules made of it, and a seal.

Everybody can repeat the auction from the record's inputs (hour, product, seed and the orders); all else is
derived. :func:`verify` does so and names each place that differs. A change of an input that happens to lead
to the same result shows in the seal, the SHA-256 of everything else in the record. Who forges the seal as
well is found out by the next hour's record, which holds the seal of this one, or by anybody who has noted it.

Rationing (R5, R6) is shown per winner: ``volume * short = floor * long + remainder``; what is left after the
floors goes one Wh each to the largest remainders, ties by sequence number.

Source: issue 5, part 4; mechanisms.md 2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal

from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from dso_engine.errors import InvalidOrder
from dso_engine.intake import OrderDecision, OrderOutcome
from dso_engine.market import Clearing, ClearingStatus, Fills, Order, Side, clear, sequence_number
from dso_engine.model import SLOT, SLOTS_PER_HOUR, HomeId

__all__ = [
    "Finding",
    "HourRecord",
    "Verdict",
    "hour_record",
    "record_text",
    "verify",
    "verify_chain",
]

FORMAT: Final = "feederloop market record 1"
_STRICT: Final = ConfigDict(extra="forbid", strict=True)


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class OrderLine:
    """An order that counted."""

    home: str
    side: Side
    price_millicent: int
    volume_wh: int
    seq: int


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class RefusedLine:
    """An order that did not count, as far as it can be put into words, and why."""

    home: str
    order: str
    reason: OrderOutcome


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ShareLine:
    """What one winner got; ``offered_wh * short_wh = floor_wh * long_wh + remainder``."""

    home: str
    offered_wh: int
    floor_wh: int
    remainder: int
    allotted_wh: int


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SideLines:
    """The winners of one side in rank order."""

    offered_wh: int
    """V_B or V_S."""
    rationed: bool
    shares: tuple[ShareLine, ...]


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class AuctionLines:
    """One auction."""

    slot: AwareDatetime
    orders: tuple[OrderLine, ...]
    """By home."""
    refused: tuple[RefusedLine, ...]
    status: ClearingStatus
    demanded_wh: int
    offered_wh: int
    matched_wh: int
    traded_wh: int
    bid_price_millicent: int | None
    ask_price_millicent: int | None
    critical_buyer: str | None
    critical_seller: str | None
    short_wh: int
    """V_short and V_long of the rationing; zero where nobody trades."""
    long_wh: int
    buyers: SideLines
    sellers: SideLines


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class HourRecord:
    """The record of an hour's auctions; for an hourly product there is one, and volumes are per slot."""

    format: Literal["feederloop market record 1"] = FORMAT
    hour: AwareDatetime
    product: Literal["intraday", "day_ahead"]
    seed: int
    """Of the sequence numbers: seq = hash(seed, slot, home)."""
    previous: str | None
    """Seal of the record before this one, None for the first."""
    auctions: tuple[AuctionLines, ...]
    seal: str = ""
    """SHA-256 of all the rest, hexadecimal."""


_RECORD: Final = TypeAdapter(HourRecord)
_AUCTION: Final = TypeAdapter(AuctionLines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as the rules say."""

    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Outcome of a verification."""

    findings: tuple[Finding, ...]
    record: HourRecord | None
    """None if the text is no record at all."""

    @property
    def sound(self) -> bool:
        """Whether everything is as the rules say."""
        return not self.findings


def hour_record(
    *,
    hour: datetime,
    product: Literal["intraday", "day_ahead"],
    seed: int,
    previous: str | None,
    auctions: Iterable[tuple[datetime, Sequence[Order], Clearing, Sequence[OrderDecision]]],
) -> HourRecord:
    """Return the sealed record of an hour.

    Args:
        hour: Start of the delivery hour.
        product: What was auctioned.
        seed: Of the sequence numbers.
        previous: Seal of the record before.
        auctions: Start of the slot, the book, its clearing, and the orders that did not count.
    """
    lines = tuple(
        _auction(slot, orders, clearing, tuple(_refused(each) for each in refused))
        for slot, orders, clearing, refused in auctions
    )
    record = HourRecord(hour=hour, product=product, seed=seed, previous=previous, auctions=lines)
    return replace(record, seal=_seal(record))


def record_text(record: HourRecord) -> str:
    """Return a record as JSON."""
    tree = _RECORD.dump_python(record, mode="json")
    return json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def verify(text: str | bytes) -> Verdict:
    """Repeats the auctions of a record from its inputs and compares.

    Returns:
        The verdict; a text that is no record is a verdict, too, never an error.
    """
    try:
        found = _RECORD.validate_json(text)
    except ValidationError as err:
        return Verdict(
            record=None,
            findings=tuple(
                Finding(where=_path(each["loc"]), text=f"is no part of a record: {each['msg']}")
                for each in err.errors(include_url=False, include_context=False)
            ),
        )
    findings: list[Finding] = []
    if (seal := _seal(found)) != found.seal:
        findings.append(Finding(where="seal", text=f"is {found.seal}, but the record's content has {seal}"))
    slots = tuple(auction.slot for auction in found.auctions)
    count = SLOTS_PER_HOUR if found.product == "intraday" else 1
    if slots != tuple(found.hour + k * SLOT for k in range(count)):
        findings.append(Finding(where="auctions", text=f"are not the {count} of the hour"))
    for k, auction in enumerate(found.auctions):
        findings.extend(_check_auction(f"auctions[{k}]", found, auction))
    return Verdict(record=found, findings=tuple(findings))


def verify_chain(records: Sequence[HourRecord]) -> tuple[Finding, ...]:
    """Returns where one record does not hold the seal of the one before it, in order of product and hour."""
    findings: list[Finding] = []
    for product in ("day_ahead", "intraday"):
        line = sorted((r for r in records if r.product == product), key=lambda record: record.hour)
        for before, after in pairwise(line):
            if after.previous != before.seal:
                findings.append(
                    Finding(
                        where=f"{product} {after.hour.isoformat()}: previous",
                        text=f"is {after.previous}, but the record of {before.hour.isoformat()} "
                        f"has seal {before.seal}; one was changed, or one between them is missing",
                    )
                )
    return tuple(findings)


def _check_auction(where: str, record: HourRecord, found: AuctionLines) -> Iterator[Finding]:
    orders = tuple(
        Order(
            home=HomeId(line.home),
            side=line.side,
            price_millicent=line.price_millicent,
            volume_wh=line.volume_wh,
            seq=line.seq,
        )
        for line in found.orders
    )
    try:
        expected = _auction(found.slot, orders, clear(orders), found.refused)
    except InvalidOrder as err:
        yield Finding(where=f"{where}.orders", text=str(err))
        return
    for line in found.orders:
        seq = sequence_number(found.slot, HomeId(line.home), record.seed)
        if line.seq != seq:
            yield Finding(where=f"{where}.orders, home {line.home}: seq", text=f"is {line.seq}, not {seq}")
    yield from _differences(where, _tree(found), _tree(expected))


def _auction(
    slot: datetime, orders: Sequence[Order], clearing: Clearing, refused: tuple[RefusedLine, ...]
) -> AuctionLines:
    offered = {order.home: order.volume_wh for order in orders}
    traded = clearing.traded_wh > 0
    short_wh = clearing.traded_wh
    long_wh = max(clearing.bought.offered_wh, clearing.sold.offered_wh) if traded else 0
    return AuctionLines(
        slot=slot,
        orders=tuple(_order(order) for order in sorted(orders, key=lambda order: order.home)),
        refused=refused,
        status=clearing.status,
        demanded_wh=clearing.demanded_wh,
        offered_wh=clearing.offered_wh,
        matched_wh=clearing.matched_wh,
        traded_wh=clearing.traded_wh,
        bid_price_millicent=clearing.bid_price_millicent,
        ask_price_millicent=clearing.ask_price_millicent,
        critical_buyer=clearing.critical_buyer,
        critical_seller=clearing.critical_seller,
        short_wh=short_wh,
        long_wh=long_wh,
        buyers=_side(clearing.bought, offered, short_wh),
        sellers=_side(clearing.sold, offered, short_wh),
    )


def _order(order: Order) -> OrderLine:
    return OrderLine(
        home=order.home,
        side=order.side,
        price_millicent=order.price_millicent,
        volume_wh=order.volume_wh,
        seq=order.seq,
    )


def _refused(decision: OrderDecision) -> RefusedLine:
    order = decision.order
    return RefusedLine(
        home=str(order.home),
        order=f"{order.side!s} {order.volume_wh!r} Wh at {order.price_millicent!r}",
        reason=decision.outcome,
    )


def _side(fills: Fills, offered: dict[HomeId, int], short_wh: int) -> SideLines:
    shares = []
    for home, allotted_wh in zip(fills.homes, fills.volumes_wh, strict=True):
        floor_wh, remainder = divmod(offered[home] * short_wh, fills.offered_wh)
        shares.append(
            ShareLine(
                home=home,
                offered_wh=offered[home],
                floor_wh=floor_wh,
                remainder=remainder,
                allotted_wh=allotted_wh,
            )
        )
    return SideLines(
        offered_wh=fills.offered_wh,
        rationed=bool(shares) and fills.offered_wh > short_wh,
        shares=tuple(shares),
    )


def _seal(record: HourRecord) -> str:
    """The SHA-256 of a record without its seal, over JSON with sorted keys and no spaces."""
    tree = _RECORD.dump_python(record, mode="json", exclude={"seal"})
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _tree(auction: AuctionLines) -> Any:  # noqa: ANN401  # JSON
    return _AUCTION.dump_python(auction, mode="json")


def _differences(where: str, found: Any, expected: Any) -> Iterator[Finding]:  # noqa: ANN401  # JSON
    """The leaves in which two JSON trees differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in expected:
            yield from _differences(f"{where}.{key}", found[key], expected[key])
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for k, (left, right) in enumerate(zip(found, expected, strict=True)):
            yield from _differences(f"{where}[{k}]", left, right)
    elif isinstance(found, list):
        yield Finding(where=where, text=f"has {len(found)} entries, but the rules give {len(expected)}")
    elif found != expected:
        yield Finding(where=where, text=f"is {found}, but the rules give {expected}")


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the text"
