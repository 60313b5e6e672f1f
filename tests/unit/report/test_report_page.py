from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree, html

from feederloop.report import LoggedExchange, write_report
from feederloop.report.drawing import PALETTE
from feederloop.report.messages import MAX_PER_KIND, MAX_XML_CHARACTERS, messages_page
from feederloop.report.plots_control import busiest_slot
from feederloop.simulation.result import RunResult
from tests.unit.report import report_samples as samples

ALL_PLOTS = {"voltages", "flows", "controlled_slot", "market", "vuf", "transformer", "homes"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a controlled day."""
    exchanges = [samples.poll(samples.slot_at(k)) for k in range(9)]
    return write_report(samples.controlled(), exchanges, tmp_path_factory.mktemp("full")).parent


def text_of(path: Path) -> str:
    """What a person reads, spaces and no-break spaces made equal."""
    body = html.fromstring(path.read_bytes()).find("body")
    assert body is not None
    return " ".join(str(body.text_content()).replace("\xa0", " ").split())


def svg_texts(path: Path) -> set[str]:
    return {str(t) for t in etree.parse(path).xpath("//*[local-name()='text']/text()")}


def test_every_svg_is_valid_xml_with_readable_text(full: Path) -> None:
    assert {path.stem for path in full.glob("*.svg")} == ALL_PLOTS
    for path in full.glob("*.svg"):
        root = etree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert svg_texts(path)
        assert b"<!DOCTYPE" not in path.read_bytes()
        assert b"metadata" not in path.read_bytes()


def test_plots_name_what_they_show(full: Path) -> None:
    assert {"Phase A", "Phase B", "Phase C", "limit ±10 %", "price armed", "12:00"} <= svg_texts(
        full / "voltages.svg"
    )
    assert set(samples.PCCS) <= svg_texts(full / "flows.svg")
    assert {"price u, cent/kWh", "bound", "measured", "600"} <= svg_texts(full / "controlled_slot.svg")
    assert {"buyers pay", "sellers receive", "traded, kWh"} <= svg_texts(full / "market.svg")
    assert {"h01", "h04", "Curtailed energy by home"} <= svg_texts(full / "homes.svg")


def test_page_starts_with_the_headline_and_mentions_limit_and_curtailment(full: Path) -> None:
    text = text_of(full / "index.html")
    assert "11.9 % above nominal (limit 10 %; 11 slots of 144 beyond it)" in text
    assert "3.20 kWh of solar energy were curtailed" in text
    assert "Times are local: UTC+1" in text
    assert "The slot whose prices changed most, 2018-05-16 12:00, 150 steps in all" in text
    assert text.index("11.9 % above") < text.index("The day in pictures") < text.index("How to read this")


def test_page_has_every_home_with_its_bill_and_the_sum(full: Path) -> None:
    rows = {
        cells[0]: [cell.replace("\N{MINUS SIGN}", "-") for cell in cells[1:]]
        for row in html.fromstring((full / "index.html").read_bytes()).xpath("//table[@class='homes'][1]//tr")
        if (cells := [str(cell.text_content()) for cell in row])
    }
    # Both tables of homes share the class; the second one, read last, is what the bills consist of.
    assert rows["h04"] == ["-0.062", "0.750", "-0.500", "0.031", "-0.015", "-0.005", "0.000", "0.400"]
    assert rows["all"][-1] == "127.500"
    text = text_of(full / "index.html")
    assert "50 of 50 homes paid no more than without control" in text
    assert "Sum of all accounts 0, balanced" in text.replace("accounts0", "accounts 0")


def test_page_loads_nothing_and_runs_nothing(full: Path) -> None:
    for name in ("index.html", "messages.html"):
        page = html.fromstring((full / name).read_bytes())
        assert not page.xpath("//script | //link | //img | //iframe | //@*[starts-with(name(), 'on')]")
        for target in page.xpath("//@href | //@src | //@*[name()='xlink:href']"):
            assert not re.match(r"(?i)[a-z]+:|//", str(target)), target
            if not str(target).startswith("#") and target != "result.json":
                assert (full / str(target)).is_file()


def test_ids_are_unique_and_every_reference_resolves(full: Path) -> None:
    source = (full / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', source)
    assert len(ids) == len(set(ids))
    references = re.findall(r'xlink:href="#([^"]+)"', source) + re.findall(r"url\(#([^)]+)\)", source)
    assert references
    assert set(references) <= set(ids)


def test_dark_mode_reaches_the_plots(full: Path) -> None:
    source = (full / "index.html").read_text()
    body = source[source.index("<body>") :]
    assert "prefers-color-scheme:dark" in source
    # No colour is left that the mode could not change.
    assert not re.findall(r"#[0-9a-f]{6}\b(?=[;\"])", body)
    assert {f"var({c.variable})" for c in PALETTE} <= set(re.findall(r"var\([a-z-]+\)", body))


def test_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    exchanges = [samples.poll(samples.slot_at(1))]
    folders = [
        write_report(samples.controlled(), exchanges, tmp_path / name).parent for name in ("one", "two")
    ]
    first, second = ({p.name: p.read_bytes() for p in sorted(folder.iterdir())} for folder in folders)
    assert first == second


@pytest.mark.parametrize(
    ("result", "missing"),
    [
        (samples.uncontrolled(6), {"controlled_slot", "market", "homes"}),
        (samples.uncontrolled(1), {"controlled_slot", "market", "homes"}),
        (replace(samples.calm(6), market=(), traded_kwh=0.0), {"controlled_slot", "market"}),
        (
            replace(
                samples.calm(6),
                armed_slots=(samples.slot_at(0, 20),),
                steps=samples.price_steps(samples.slot_at(0, 20), 3),
            ),
            {"market"},
        ),
    ],
    ids=["no control", "one slot", "no market", "one armed slot"],
)
def test_runs_with_less_to_show(tmp_path: Path, result: RunResult, missing: set[str]) -> None:
    index = write_report(result, (), tmp_path / "out")
    assert {path.stem for path in index.parent.glob("*.svg")} == ALL_PLOTS - missing
    armed = svg_texts(index.parent / "voltages.svg") & {"price armed"}
    assert bool(armed) == bool(result.armed_slots)
    assert "No exchange was logged." in text_of(index.parent / "messages.html")


def test_no_control_page_has_no_second_column(tmp_path: Path) -> None:
    text = text_of(write_report(samples.uncontrolled(6), (), tmp_path))
    assert "with control" not in text.replace("with control only", "")
    assert "Who pays whom" not in text


def test_names_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    evil = replace(
        samples.calm(2),
        network="<script>alert(1)</script>",
        homes=(replace(samples.home(1), home='<b onclick="x">h</b>'),),
    )
    source = write_report(evil, (), tmp_path).read_text()
    assert "<script" not in source
    assert "<b onclick" not in source
    assert "&lt;script&gt;alert(1)" in source


def test_busiest_slot_is_the_one_with_most_changes_and_the_earliest_of_equals() -> None:
    quiet, busy, late = (samples.price_steps(samples.slot_at(h), n) for h, n in ((10, 3), (11, 9), (12, 9)))
    assert busiest_slot((*late, *quiet, *busy)) == samples.slot_at(11)
    assert busiest_slot(()) is None


def test_messages_are_indented_escaped_and_named() -> None:
    report = samples.payload(
        "oadrUpdateReport",
        "<ei:reportSpecifierID>x-meter</ei:reportSpecifierID><ei:v>a &lt;b&gt; &amp; c</ei:v>",
    )
    page = messages_page(
        [
            samples.exchange(
                samples.slot_at(9, 40), report, samples.payload("oadrUpdatedReport"), service="EiReport"
            )
        ]
    )
    assert "<time>09:40:00</time> <span>EiReport</span>" in page
    assert "<span>VEN → VTN</span> <b>oadrUpdateReport</b> <em>x-meter</em>" in page
    assert "<span>VTN → VEN</span> <b>oadrUpdatedReport</b>" in page
    # Once for XML, once for HTML: the page shows the bytes of the message, not what they mean.
    assert "&lt;ei:v&gt;a &amp;lt;b&amp;gt; &amp;amp; c&lt;/ei:v&gt;" in page
    assert "\n  &lt;oadr:oadrSignedObject&gt;\n    &lt;oadr:oadrUpdateReport" in page
    assert "All of the day&#x27;s 1 exchange are shown." in page


def test_a_push_is_shown_from_vtn_to_ven() -> None:
    page = messages_page(
        [
            samples.exchange(
                samples.START, samples.payload("oadrDistributeEvent"), samples.payload("oadrResponse")
            )
        ]
    )
    assert "<span>VTN → VEN</span> <b>oadrDistributeEvent</b>" in page
    assert "<span>VEN → VTN</span> <b>oadrResponse</b>" in page


def test_log_keeps_the_first_of_each_kind_and_counts_the_rest() -> None:
    polls = [samples.poll(samples.slot_at(0, minute)) for minute in range(40)]
    event = samples.exchange(
        samples.slot_at(1),
        samples.payload("oadrPoll"),
        samples.payload(
            "oadrDistributeEvent", "<ei:marketContext>http://x.example/local-market</ei:marketContext>"
        ),
    )
    page = messages_page([*polls, event])
    assert page.count('<section class="exchange">') == MAX_PER_KIND + 1
    assert f"Shown are {MAX_PER_KIND + 1} of 41 exchanges" in page
    assert f"{40 - MAX_PER_KIND} are left out" in page
    assert '<td>oadrResponse</td><td class="n">40</td><td class="n">5</td>' in page
    assert "oadrDistributeEvent (local-market)" in page


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe not xml <script>",
        b"<a><b></a>",
        b"<?xml version='1.0'?><!-- c --><only/>",
        b"<oadrSignedObject/>",
        b"<oadrSignedObject><!-- c --><oadrPoll/></oadrSignedObject>",
    ],
)
def test_any_body_gives_a_page(body: bytes) -> None:
    page = messages_page(
        [LoggedExchange(at=samples.START, service="<i>", request=body, response=b"", http_status=500)]
    )
    assert "HTTP 500" in page
    assert "empty body" in page
    assert "&lt;i&gt;" in page
    assert "<script" not in page


def test_an_external_entity_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do-not-tell")
    body = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]><x>&e;</x>'.encode()
    page = messages_page([samples.exchange(samples.START, body, b"")])
    assert "<b>x</b>" in page
    assert "do-not-tell" not in page


def test_a_long_message_is_cut_and_says_so() -> None:
    long = samples.payload("oadrUpdateReport", f"<ei:v>{'7' * (MAX_XML_CHARACTERS + 100)}</ei:v>")
    page = messages_page([samples.exchange(samples.START, long, b"")])
    assert len(page) < MAX_XML_CHARACTERS + 20_000
    assert "more characters left out" in page
