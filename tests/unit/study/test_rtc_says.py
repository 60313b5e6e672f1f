"""What the study of the real-time price says of its runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from feederloop.study.page import summary
from feederloop.study.rtc import RtcJob, RtcRow, Steps, rtc_work
from feederloop.study.rtc_says import rtc_report

JOB = RtcJob(day=date(2018, 5, 16), seed=1, law="none", slots=2)
ROW = RtcRow(
    feeder=1,
    buses=("a", "b"),
    v_dev_pct=((1.0, 10.4), (1.0, 9.0)),
    loading_pct=((40.0,), (30.0,)),
    slots_beyond=1,
    worst_pct=10.4,
    curtailed_kwh=0.0,
    pcc_slots_curtailed=0,
    steps=(),
)
STEPS = Steps(
    slot=datetime(2018, 5, 16, 10, tzinfo=UTC),
    pcc="F1-A",
    to_bound=6,
    total=50,
    residual_kw=0.1,
    price_eur_per_kwh=-0.02,
)
HELD = replace(ROW, slots_beyond=0, worst_pct=9.4, curtailed_kwh=1.25, pcc_slots_curtailed=3)


def test_sizes_of_pv_are_told_apart_and_curtailing_is_said() -> None:
    more = replace(JOB, pv_kwp=6.0)
    report = rtc_report(
        (
            (JOB, replace(ROW, worst_pct=8.0, slots_beyond=0)),
            (
                replace(JOB, law="secant"),
                replace(HELD, worst_pct=8.0, curtailed_kwh=0.0, pcc_slots_curtailed=0),
            ),
            (more, ROW),
            (replace(more, law="secant"), replace(HELD, steps=(STEPS,))),
        )
    )
    said = summary(report)
    assert "40 with 4.5 kWp, the sunniest day once more with 6 kWp; 30 with" in said
    assert "10:00 to 10:20 of Wednesday 16 May 2018 (a quick run; the study has 6 days); one seed" in said
    assert (
        "4.5 kWp: market and phases 8.00 % at worst, 0 slots with a broken limit; with secant law 8.00 %"
        in said
    )
    assert (
        "6 kWp: market and phases 10.40 % at worst, 1 slots with a broken limit; with secant law 9.40 %"
        in said
    )
    assert "4.5 kWp: with secant law: no PCC had a bound to obey. 6 kWp: with secant law: 6.0 steps" in said
    assert "6 kWp: with secant law 1.2 kWh in 3 PCC slots." in said
    assert "6 kWp, feeder 1" in report.charts[0].caption  # the run with the highest deviation
    assert [chart.name for chart in report.charts] == ["fig_6_1", "fig_6_2", "convergence"]


def test_nothing_is_drawn_of_steps_nobody_made() -> None:
    report = rtc_report(((JOB, ROW), (replace(JOB, law="secant"), HELD)))
    assert [chart.name for chart in report.charts] == ["fig_6_1", "fig_6_2"]


def test_each_price_has_its_run_without() -> None:
    for quick in (True, False):
        jobs = rtc_work(quick=quick).jobs
        assert len(set(jobs)) == len(jobs)
        for job in jobs:
            assert replace(job, law="none") in jobs
