"""Synthetic runs and messages for the report's tests: numbers chosen so that each can be found again."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from feederloop.report import LoggedExchange
from feederloop.simulation.result import (
    CurtailResult,
    GridSeries,
    HomeResult,
    MarketSlot,
    MessageCounts,
    PhaseSlot,
    PriceStep,
    RunResult,
    Summary,
)

START = datetime(2018, 5, 15, 23, 0, tzinfo=UTC)
"""Midnight of 2018-05-16, local."""
SLOT = timedelta(minutes=10)
PCCS = ("F1-A", "F1-B", "F1-C", "F2-A", "F2-B", "F2-C")


def slot_at(hour: int, minute: int = 0) -> datetime:
    return START + timedelta(hours=hour, minutes=minute)


def grid(slots: int, scale: float) -> GridSeries:
    """A sunny day: a bump at noon, a dip in the evening; ``scale`` stretches the voltages."""
    noon = [math.exp(-(((k - slots / 2) / (slots / 7 + 1)) ** 2)) for k in range(slots)]
    eve = [math.exp(-(((k - slots * 0.83) / (slots / 14 + 1)) ** 2)) for k in range(slots)]
    high = tuple(
        tuple(scale * (1.2 + f * n + 0.2 * math.sin(0.9 * k)) for f in (10.0, 8.1, 9.0))
        for k, n in enumerate(noon)
    )
    return GridSeries(
        v_max_pct=high,
        v_min_pct=tuple(tuple(-scale * f * (e + 0.2) for f in (2.0, 4.0, 3.2)) for e in eve),
        vuf_pct=tuple(0.3 + 0.5 * n + 0.1 * math.sin(k) for k, n in enumerate(noon)),
        pcc_p_kw=tuple(
            tuple(scale * (4.0 * e + 2.0 - (18.0 + 2.0 * p) * n + 0.6 * math.sin(k + p)) for p in range(6))
            for k, (n, e) in enumerate(zip(noon, eve, strict=True))
        ),
        transformer_loading_pct=tuple(20.0 + 62.0 * n * scale for n in noon),
        line_loss_kw=tuple(n for n in noon),
        neutral_loss_kw=tuple(0.2 * n for n in noon),
        transformer_loss_kw=tuple(0.4 + 0.5 * n for n in noon),
        violations=tuple(int(max(row) > 10.0) for row in high),
    )


def summary(
    *, controlled: bool, curtailed_kwh: float = 0.0, v_high_a_pct: float | None = None, violations: int = 0
) -> Summary:
    high = v_high_a_pct if v_high_a_pct is not None else (9.49 if controlled else 11.904)
    return Summary(
        imported_kwh=312.5 if controlled else 333.25,
        exported_kwh=401.75 if controlled else 455.5,
        peak_p_kw=95.25 if controlled else 121.5,
        peak_s_kva=97.0 if controlled else 124.5,
        par=3.25 if controlled else 4.5,
        v_high_pct=(high, 7.25, 8.5),
        v_low_pct=(-1.25, -3.5, -2.75),
        vuf_pct=0.625 if controlled else 0.875,
        line_loss_kwh=17.5 if controlled else 21.25,
        neutral_loss_kwh=3.125 if controlled else 5.25,
        transformer_loss_kwh=14.5 if controlled else 15.75,
        slots_beyond_voltage_limit=violations if controlled else 11,
        slots_with_violations=violations if controlled else 12,
        curtailed_kwh=curtailed_kwh,
        bills_eur=21.345 if controlled else 25.5,
        stored_change_kwh=1.5,
    )


def home(number: int, *, curtailed_wh: int = 0) -> HomeResult:
    battery = number % 2 == 1
    return HomeResult(
        home=f"h{number:02d}",
        pv_kwp=4.5 if number % 3 else 0.0,
        battery=battery,
        switch=number == 3,
        metered_wh=1000 * number - 5000,
        plant_wh=1000 * number - 5000,
        curtailed_wh=curtailed_wh,
        battery_min_kwh=0.6 if battery else 0.0,
        battery_max_kwh=4.2 + 0.05 * number if battery else 0.0,
        bill_eur=0.1 * number,
        bill_uncontrolled_eur=0.125 * number,
        market_eur=-0.0625,
        supplier_eur=0.75,
        feed_in_eur=-0.5,
        real_time_price_eur=0.03125,
        reward_eur=-0.015,
        rebate_eur=-0.005,
        refusal_eur=0.0,
    )


def uncontrolled(slots: int = 144) -> RunResult:
    """A run with ``--no-control``."""
    return RunResult(
        version="0.1.0",
        network="lv_50h_rural",
        scenario="D",
        day="2018-05-16",
        seed=7,
        law="secant",
        model_error=False,
        slots=tuple(START + k * SLOT for k in range(slots)),
        pccs=PCCS,
        v_nominal_v=400.0 / math.sqrt(3.0),
        v_band_pct=10.0,
        with_control=None,
        without_control=summary(controlled=False),
        grid=None,
        grid_uncontrolled=grid(slots, 1.08),
    )


def calm(slots: int = 144) -> RunResult:
    """A controlled day in which the price was never armed and nobody was curtailed."""
    return replace(
        uncontrolled(slots),
        with_control=summary(controlled=True),
        grid=grid(slots, 0.85),
        market=tuple(market_slot(START + k * SLOT, k) for k in range(slots)),
        traded_kwh=34.125,
        phases=(PhaseSlot(slot=START, phases=(("h03", "B"),), operations=1),),
        switch_operations=87,
        homes=tuple(home(n) for n in range(1, 51)),
        homes_pay_eur=21.345,
        supplier_receives_eur=20.0,
        dso_receives_eur=1.345,
        market_surplus_eur=0.875,
        messages=MessageCounts(
            sent_by_vens=(("oadrPoll", 12000), ("oadrUpdateReport", 3456)),
            received_by_vens=(("oadrResponse", 15000), ("oadrDistributeEvent", 456)),
            application_errors=0,
            http_errors=0,
            rejected=0,
        ),
    )


def market_slot(slot: datetime, k: int) -> MarketSlot:
    traded = int(600 + 400 * math.sin(k)) if 40 < k < 60 or 110 < k < 130 else 0
    return MarketSlot(
        slot=slot,
        orders=50,
        status="traded" if traded else "no_crossing",
        traded_wh=traded,
        bought_wh=traded,
        sold_wh=traded,
        bid_price_millicent=13_200 + 40 * (k % 9) if traded else None,
        ask_price_millicent=11_900 - 60 * (k % 5) if traded else None,
    )


def controlled() -> RunResult:
    """The same day with 23 armed slots, the busiest at 12:00, and 3.2 kWh curtailed."""
    armed = tuple(slot_at(10, 40) + k * SLOT for k in range(23))
    steps = tuple(step for slot in armed for step in price_steps(slot, 30 if slot == slot_at(12) else 6))
    return replace(
        calm(),
        with_control=summary(controlled=True, curtailed_kwh=3.2),
        armed_slots=armed,
        steps=steps,
        price_changes=412,
        curtailments=(
            CurtailResult(
                slot=slot_at(12), at=slot_at(12, 5), pcc="F1-A", homes=("h01", "h04"), export_w=900
            ),
        ),
        homes=tuple(home(n, curtailed_wh=1600 if n in {1, 4} else 0) for n in range(1, 51)),
    )


def price_steps(slot: datetime, taken: int) -> tuple[PriceStep, ...]:
    """Sixty ticks of six PCCs; the price changes at the first ``taken``."""
    steps: list[PriceStep] = []
    for k in range(60):
        for p, pcc in enumerate(PCCS):
            bounded = p != 4
            settled = 1.0 - math.exp(-min(k, taken) / 6.0)
            p_kw = -21.0 + 0.7 * p + 5.0 * settled * bounded + 0.4 * math.sin(k + p)
            steps.append(
                PriceStep(
                    slot=slot,
                    at=slot + timedelta(seconds=10 * k),
                    pcc=pcc,
                    p_kw=p_kw,
                    projected_kw=-21.0 + 0.7 * p + 4.0 * settled * bounded,
                    c_lo_kw=-17.0 + 0.7 * p if bounded else None,
                    c_hi_kw=None,
                    u_millicent=int(-8000 * settled * (1 + 0.2 * p)) if bounded else 0,
                    stepped=bounded and k < taken,
                    mode="approach" if k < taken else "hold",
                )
            )
    return tuple(steps)


_OADR = "http://openadr.org/oadr-2.0b/2012/07"
_EI = "http://docs.oasis-open.org/ns/energyinterop/201110"


def payload(name: str, inner: str = "") -> bytes:
    return (
        f'<oadr:oadrPayload xmlns:oadr="{_OADR}" xmlns:ei="{_EI}"><oadr:oadrSignedObject>'
        f'<oadr:{name} ei:schemaVersion="2.0b">{inner}</oadr:{name}>'
        "</oadr:oadrSignedObject></oadr:oadrPayload>"
    ).encode()


def exchange(
    at: datetime, request: bytes, response: bytes, *, service: str = "OadrPoll", http_status: int = 200
) -> LoggedExchange:
    return LoggedExchange(at=at, service=service, request=request, response=response, http_status=http_status)


def poll(at: datetime) -> LoggedExchange:
    return exchange(at, payload("oadrPoll", "<ei:venID>h01</ei:venID>"), payload("oadrResponse"))
