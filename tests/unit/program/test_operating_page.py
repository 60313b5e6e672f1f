"""The examples of docs/operating.md do what the page says."""

from __future__ import annotations

import json
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.settings import data_path
from config.vtn_settings import Limits
from dso_engine.feeder import load_network
from feederloop.cli import app
from feederloop.customers import read_connections
from feederloop.provisioning import read_provisions
from vtn_server import api_forms as forms
from vtn_server import api_models as api
from vtn_server import event as rules
from vtn_server.limits import Limit
from vtn_server.state import VenId

PAGE = (Path(__file__).parents[3] / "docs" / "operating.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for each, text in found if each == language]


def test_the_event_of_the_page_can_be_published() -> None:
    (text,) = blocks("json")
    wanted = api.EventCreate.model_validate(json.loads(text))
    assert wanted.start is not None
    draft = forms.draft_of(wanted, wanted.event_id or "", wanted.start, (VenId("v"),))
    record = rules.publish(draft, datetime(2026, 5, 16, tzinfo=UTC))
    assert [each.signal_name for each in record.signals] == ["SIMPLE", "LOAD_DISPATCH"]
    assert draft.baseline is not None
    assert (draft.baseline.dtstart, draft.baseline.duration) == (wanted.start, draft.duration)
    change = api.EventModify.model_validate({"values": [{"signal_id": "level", "values": [1, 3]}]})
    assert forms.with_values(record, change.values)[0].intervals[1].signal_value == 3


def test_the_files_of_vens_of_the_page(tmp_path: Path) -> None:
    (toml,) = blocks("toml")
    csv = next(each for each in blocks("") if each.startswith("name,ven_id"))
    (tmp_path / "a.toml").write_text(toml, encoding="utf-8")
    (tmp_path / "a.csv").write_text(csv, encoding="utf-8")
    assert [each.ven_id for each in read_provisions(tmp_path / "a.toml")] == ["ven-7"]
    assert read_provisions(tmp_path / "a.csv")[0].groups == ("street-a", "phase-1")


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"feederloop ((?:operator|vtn|ven|dso)(?: [a-z]+)*)", PAGE)))
)
def test_every_command_of_the_page_exists(command: str) -> None:
    words = command.split()
    known = {
        "operator": {"events", "vens", "reports", "registrations", "opts", "stats", "openapi"},
        "vtn": {"backup", "restore", "prune"},
        "ven": set(),
        "dso": set(),
    }
    kept = words[:1]
    if len(words) > 1 and words[1] in known[words[0]]:
        kept.append(words[1])
        if words[1] in {"events", "vens", "reports", "registrations"}:
            kept.extend(words[2:3])
    found = CliRunner().invoke(app, [*kept, "--help"])
    assert found.exit_code == 0, found.output


def test_the_file_of_homes_of_the_page(tmp_path: Path) -> None:
    found = re.search(r"^ *```csv\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    (tmp_path / "homes.csv").write_text(textwrap.dedent(found.group(1)), encoding="utf-8")
    network = load_network(data_path("networks", "lv_50h_rural.json"))
    homes = {each.customer.home: each for each in read_connections(tmp_path / "homes.csv", network)}
    assert [str(home) for home, each in homes.items() if each.customer.participates] == ["H01", "H02"]


def limits_table() -> list[list[str]]:
    section = PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[1:]


def test_the_table_of_limits_names_settings_that_exist() -> None:
    named = [name for row in limits_table() for name in re.findall(r"`limits\.(\w+)`", " ".join(row))]
    assert set(named) <= set(Limits.model_fields)
    switches = {"validate_outgoing", "check_rules", "accept_bare_root", "wrong_method_status", "resend_after"}
    assert set(Limits.model_fields) - switches <= set(named)  # no bound is missing


@pytest.mark.parametrize("field", sorted(Limits.model_fields))
def test_the_table_of_limits_has_the_defaults(field: str) -> None:
    default = Limits.model_fields[field].default
    rows = [row for row in limits_table() if f"`limits.{field}`" in row[2]]
    for row in rows:
        shown = row[1].replace(",", "")
        number = re.fullmatch(r"PT(\d+)S", str(default))
        assert re.search(rf"\b{number.group(1) if number else default}\b", shown), row


def test_the_table_of_limits_has_every_label() -> None:
    labels = " ".join(row[-1] for row in limits_table())
    for limit in Limit:
        assert f"`{limit.value}`" in labels, limit
