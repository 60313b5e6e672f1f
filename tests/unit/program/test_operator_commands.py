"""``feederloop operator`` against a VTN in memory, on a real socket of this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from feederloop.cli import app
from feederloop.operator_client import ApiClient, OperatorError, token_from
from feederloop.operator_events import BadOption, Wanted, event_of, instant
from schemas.oadr20b import model as m
from tests.unit.vtn import rig as kit
from tests.unit.vtn.rig import ALICE, MemoryStore, Rig
from vtn_server.api import serve_api
from vtn_server.api_desk import Desk
from vtn_server.api_stats_models import StatsOut

TOKEN = "a-token-of-the-operator"
NOW = datetime(2026, 5, 16, 10, 0, 30, 500, tzinfo=UTC)
PRICE_CONTEXT = "http://feederloop.example/real-time-price"


class Shell:
    """Somebody at a shell who has the token."""

    def __init__(self, rig: Rig, url: str) -> None:
        self.rig = rig
        self.url = url
        self.environment: dict[str, str | None] = {
            "VTN_OPERATOR__TOKEN": TOKEN,
            "VTN_OPERATOR__TOKEN_FILE": None,
            "FEEDERLOOP_OPERATOR_URL": url,
        }

    async def run(self, *words: str, stdin: str | None = None) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, app, ["operator", *words], env=self.environment, input=stdin
        )

    async def text(self, *words: str, stdin: str | None = None) -> str:
        result = await self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def json(self, *words: str, stdin: str | None = None) -> Any:
        return json.loads(await self.text(*words, "--json", stdin=stdin))

    async def refused(self, code: int, *words: str, stdin: str | None = None) -> str:
        result = await self.run(*words, stdin=stdin)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        return result.stderr


@pytest.fixture
async def shell() -> AsyncIterator[Shell]:
    rig = await Rig(MemoryStore()).start()
    numbers = iter(range(1000))
    desk = Desk(
        operator=rig.operator,
        now=lambda: rig.now,
        new_id=lambda: f"n{next(numbers)}",
        vtn_id="vtn-1",
        version="1.2.3",
    )
    server = await serve_api(desk, TOKEN)
    yield Shell(rig, server.url)
    await server.close()


def new_event(*words: str, start: str = "2018-05-16T11:00:00Z") -> tuple[str, ...]:
    return ("events", "create", "--context", PRICE_CONTEXT, "--start", start, *words)


async def test_the_common_events(shell: Shell) -> None:
    simple = await shell.json(*new_event("--simple", "2", "--all", "--id", "s"))
    assert simple["signals"][0]["name"] == "SIMPLE"
    assert simple["signals"][0]["type"] == "level"
    assert simple["audience"] == ["ven-alice", "ven-bob"]
    words = ("--price", "0.1", "--price", "0.25", "--relative", "--duration", "PT20M", "--ven", "ven-alice")
    price = await shell.json(*new_event(*words, "--id", "p", "--no-answer", "--priority", "3"))
    assert price["signals"][0]["type"] == "priceRelative"
    assert price["signals"][0]["intervals"] == [
        {"duration": "PT10M", "value": 0.1},
        {"duration": "PT10M", "value": 0.25},
    ]
    assert (price["response_required"], price["priority"]) == ("never", 3)
    watts = ("--dispatch-w", "-1500", "--duration", "PT0S", "--ven", "ven-alice", "--test", "--comment", "c")
    dispatch = await shell.json(*new_event(*watts, "--id", "d"))
    assert dispatch["signals"][0]["unit"]["units"] == "W"
    assert (dispatch["end"], dispatch["test_event"], dispatch["comment"]) == (None, "true", "c")

    table = await shell.text("events", "list")
    assert "ELECTRICITY_PRICE/priceRelative 0.1, 0.25 EUR" in table
    assert [line.split()[0] for line in table.splitlines()] == ["event", "d", "p", "s"]
    assert "2 of 3" in await shell.text("events", "list", "--limit", "2")


async def test_an_event_from_a_file_and_its_changes(shell: Shell, tmp_path: Path) -> None:
    event = {
        "event_id": "e[1]/x",
        "market_context": PRICE_CONTEXT,
        "start": "2018-05-16T11:00:00Z",
        "duration": "PT10M",
        "all_vens": True,
        "signals": [
            {"name": "x-A", "type": "setpoint", "id": "a", "intervals": [{"duration": "PT10M", "value": 1}]},
            {"name": "x-B", "type": "setpoint", "id": "b", "intervals": [{"duration": "PT10M", "value": 2}]},
        ],
    }
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event), encoding="utf-8")
    made = await shell.json("events", "create", "--file", str(file))
    assert [each["id"] for each in made["signals"]] == ["a", "b"]
    assert "a, b" in await shell.refused(2, "events", "modify", "e[1]/x", "--value", "5")
    changed = await shell.json("events", "modify", "e[1]/x", "--signal", "b", "--value", "5")
    assert [each["intervals"][0]["value"] for each in changed["signals"]] == [1, 5]
    change = json.dumps({"values": [{"signal_id": "a", "values": [7]}]})
    changed = await shell.json("events", "modify", "e[1]/x", "--file", "-", stdin=change)
    assert changed["modification_number"] == 2
    assert "e[1]/x" in await shell.text("events", "list")  # no markup
    assert "modification_number=1" in await shell.text("events", "show", "e[1]/x")
    assert (await shell.json("events", "cancel", "e[1]/x"))["status"] == "cancelled"
    assert "451" in await shell.refused(1, "events", "modify", "e[1]/x", "--signal", "a", "--value", "1")


async def test_vens_registrations_and_opts(shell: Shell) -> None:
    made = await shell.json(
        "vens", "provision", "carol", "--id", "v3", "--group", "g1", "--group", "g2", "--resource", "r"
    )
    assert (made["ven_id"], made["groups"], made["resources"]) == ("v3", ["g1", "g2"], ["r"])
    assert "not-found" in await shell.refused(1, "vens", "show", "v4")
    assert "463" in await shell.refused(1, "registrations", "cancel", "v3")
    await shell.rig.bootstrap("carol")
    assert "pull" in await shell.text("vens", "list")
    assert "oadrRequestReregistration" in await shell.text("registrations", "reregister", "v3")
    assert (await shell.json("registrations", "cancel", "v3"))["asked"] == "oadrCancelPartyRegistration"
    assert "refused" in await shell.text("vens", "remove", "v3")
    assert "v3" not in await shell.text("vens", "list")
    await shell.text(*new_event("--price", "1", "--ven", "ven-alice", "--id", "e1"))
    await shell.rig.bootstrap("alice")
    sent = await shell.rig.send(m.RequestEvent(request_id="q", ven_id=ALICE), m.DistributeEvent)
    await shell.rig.send(kit.opted(sent, ALICE), m.Response)
    assert "optIn" in await shell.text("opts", "--event", "e1")
    assert (await shell.json("opts", "--ven", "ven-bob"))["total"] == 0
    assert "CreatedEvent" in await shell.text("stats")


async def test_a_venid_that_is_taken_is_replaced_only_on_request(shell: Shell) -> None:
    old, new = ("AA:BB:CC:DD:EE:FF:00:11:22:33", "07:BB:CC:DD:EE:FF:00:11:22:33")
    await shell.json("vens", "provision", "alice", "--id", ALICE, "--fingerprint", old)  # its first one
    words = ("vens", "provision", "anna", "--id", ALICE, "--fingerprint", new)
    told = await shell.refused(1, *words)
    assert "conflict" in told
    assert "'alice'" in told
    shown = await shell.json("vens", "show", ALICE)
    assert (shown["ven_name"], shown["fingerprint"]) == ("alice", old)
    changed = await shell.json(*words, "--replace")
    assert (changed["ven_name"], changed["fingerprint"]) == ("anna", new)


async def test_certificates(shell: Shell) -> None:
    mark = "AA:BB:CC:DD:EE:FF:00:11:22:33"
    assert (await shell.json("vens", "fingerprint", ALICE, mark.lower()))["fingerprint"] == mark
    assert mark in await shell.refused(1, "vens", "fingerprint", "ven-bob", mark)
    assert (await shell.json("vens", "fingerprint", ALICE, "--clear"))["fingerprint"] is None


async def test_reports(shell: Shell) -> None:
    await shell.rig.bootstrap("alice", (kit.metadata(),))
    asked = await shell.json("reports", "request", ALICE, "meter-energy", "--start", "2018-05-16T10:00:00Z")
    (request_id,) = await shell.rig.accept_reports(ALICE)
    assert request_id == asked["report_request_id"]
    assert "accepted" in await shell.text("reports", "list", "--ven", ALICE)
    await shell.rig.send(kit.update(ALICE, request_id, (5.0,)), m.UpdatedReport)
    until = "2018-05-16T10:30:00Z"
    data = await shell.json("reports", "data", "meter-energy", "--until", until)
    assert [each["value"] for each in data["readings"]] == [5.0]
    late = await shell.json(
        "reports", "data", "meter-energy", "--since", "2018-05-16T10:10:00Z", "--until", until
    )
    assert late["total"] == 0
    assert "5" in await shell.text("reports", "data", "meter-energy", "--until", until)
    assert (await shell.json("reports", "cancel", ALICE, request_id))["cancelled"] is True


async def test_a_report_that_the_ven_refuses(shell: Shell) -> None:
    await shell.rig.bootstrap("alice", (kit.metadata(),))
    too_fine = ("--every", "PT10S", "--granularity", "PT5S")
    assert "PT10M" in await shell.refused(1, "reports", "request", ALICE, "meter-energy", *too_fine)
    await shell.json("reports", "request", ALICE, "meter-energy")
    created = await shell.rig.poll(ALICE, m.CreateReport)
    refusal = m.CreatedReport(response=kit.said(created.request_id, "454"), ven_id=ALICE)
    await shell.rig.send(refusal, m.Response)
    assert "refused (454)" in await shell.text("reports", "list", "--ven", ALICE)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (new_event("--all"), "one of --simple"),
        (new_event("--all", "--simple", "1", "--price", "1"), "one of --simple"),
        (new_event("--all", "--simple", "1", "--relative"), "--relative"),
        (new_event("--all", "--simple", "1", start="tomorrow"), "no instant"),
        (new_event("--all", "--simple", "1", start="2018-05-16T11:00:00"), "no offset"),
        (new_event("--all", "--simple", "1", "--duration", "1h"), "duration"),
        (new_event("--all", "--price", "1", "--price", "2", "--duration", "PT1S"), "cannot be shared"),
        (new_event("--all", "--price", "1", "--price", "2", "--duration", "PT0S"), "open-ended"),
        (new_event("--simple", "1"), "who gets it"),
        (("events", "create", "--all", "--simple", "1"), "--context"),
        (("events", "create", "--file", "/nowhere.json"), "nowhere"),
        (("events", "create", "--file", "-", "--all"), "either a file"),
        (("events", "modify", "e"), "either --value or --file"),
        (("vens", "provision", "x", "--fingerprint", "AA"), "fingerprint"),
        (("vens", "fingerprint", ALICE, "AA"), "fingerprint"),
        (("vens", "fingerprint", ALICE), "--clear"),
        (("vens", "fingerprint", ALICE, "AA:BB:CC:DD:EE:FF:00:11:22:33", "--clear"), "--clear"),
    ],
)
async def test_options_that_say_nothing_sensible(shell: Shell, words: tuple[str, ...], told: str) -> None:
    assert told in await shell.refused(2, *words)
    assert shell.rig.operator.events() == ()


async def test_an_event_that_is_over_is_refused_unless_it_is_open_ended(shell: Shell) -> None:
    old = new_event("--simple", "1", "--all", "--id", "old", start="2010-01-01T00:00:00Z")
    told = await shell.refused(1, *old, "--duration", "PT10M")
    assert "454" in told
    assert "over" in told
    assert shell.rig.operator.events() == ()
    assert (await shell.json(*old, "--duration", "PT0S"))["status"] == "active"


async def test_a_file_that_is_no_event(shell: Shell) -> None:
    assert "duration" in await shell.refused(
        2, "events", "create", "--file", "-", stdin='{"market_context": "x"}'
    )
    assert "-:" in await shell.refused(2, "events", "create", "--file", "-", stdin="{")


async def test_without_the_right_token(shell: Shell, tmp_path: Path) -> None:
    shell.environment["VTN_OPERATOR__TOKEN"] = "wrong"
    assert "unauthorized" in await shell.refused(1, "vens", "list")
    shell.environment["VTN_OPERATOR__TOKEN"] = None
    assert "no token" in await shell.refused(1, "vens", "list")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    assert "alice" in await shell.text("--token-file", str(file), "vens", "list")


async def test_nobody_there(shell: Shell) -> None:
    assert "no answer" in await shell.refused(1, "--url", "http://127.0.0.1:1", "vens", "list")
    assert "no http address" in await shell.refused(1, "--url", "file:///etc/passwd", "vens", "list")


async def test_an_answer_that_is_none(shell: Shell) -> None:
    client = ApiClient(shell.url, TOKEN)
    with pytest.raises(OperatorError, match="no answer"):
        await asyncio.to_thread(client.ask, StatsOut, "GET", "vens")


def test_the_token_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(OperatorError, match="token"):
        token_from(file, "x")
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(OperatorError, match="no token"):
        token_from(file, "x")
    file.write_text(" abc \n", encoding="utf-8")
    assert token_from(file, "x") == "abc"
    assert token_from(None, "x") == "x"


def test_instants() -> None:
    assert instant("now", NOW) == datetime(2026, 5, 16, 10, 0, 30, tzinfo=UTC)
    assert instant("+PT90S", NOW) == datetime(2026, 5, 16, 10, 2, 0, tzinfo=UTC)
    assert instant("2026-05-16T12:00:00+02:00", NOW) == datetime(2026, 5, 16, 10, 0, tzinfo=UTC)
    for wrong in ("", "+", "+10m", "10:00", "+P999999Y"):
        with pytest.raises(BadOption):
            instant(wrong, NOW)


def test_values_share_the_duration() -> None:
    wanted = Wanted(
        market_context="c", duration="PT1H", start=NOW, prices_eur_per_kwh=(0.1, 0.2, 0.3), all_vens=True
    )
    (signal,) = event_of(wanted).signals
    assert [each.duration for each in signal.intervals] == ["PT20M"] * 3
    assert [each.value for each in signal.intervals] == [0.1, 0.2, 0.3]
