"""docs/conformance.md lists every rule of the profile, keeps its promise of coverage, and is up to date."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from pydantic import BaseModel

from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from schemas.oadr20b import rules
from tests.conformance.catalogue import ABSENT, DECISIONS, MEASURED, RULES
from tests.conformance.document import PATH, evidence_of, in_scope, render, rules_in, scenarios, verified

TESTS = Path(__file__).parents[1]
NUMBERS = (
    *range(1, 71),
    *range(100, 117),
    *range(200, 212),
    *range(300, 347),
    *range(400, 408),
    *range(500, 518),
)


def test_no_rule_is_missing_or_comes_twice() -> None:
    assert [row.number for row in RULES] == [number for number in NUMBERS if number not in ABSENT]
    assert [each.number for each in DECISIONS] == list(range(1, 22))


def test_at_least_95_percent_of_what_counts_is_verified() -> None:
    open_rules = [row.number for row in in_scope() if not evidence_of(row.number)]
    assert len(verified()) >= 0.95 * len(in_scope()), open_rules


def test_evidence_is_about_rules_that_exist() -> None:
    known = {row.number for row in RULES}
    assert scenarios() <= known
    assert {int(rule.number) for rule in rules.RULES if rule.number.isdigit()} <= known
    assert rules_in("test_rule_005_rule_013_x[rule_1000-good]") == {5, 13}


def is_setting(name: str) -> bool:
    """Return whether a dotted name is a setting, or a section of them, of one of the programs."""
    return any(_leads(program, name.split(".")) for program in (VtnProgramSettings, VenProgramSettings))


def _leads(section: object, path: list[str]) -> bool:
    for name in path:
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return False
        field = section.model_fields.get(name)
        if field is None:
            return False
        section = field.annotation
    return True


def test_settings_of_decisions_exist() -> None:
    for each in DECISIONS:
        names = re.findall("`([^`]+)`", each.setting)
        assert [name for name in names if not is_setting(name)] == [], f"G{each.number}"
        assert bool(names) != (each.setting == "none"), f"G{each.number}"
    assert is_setting("limits.max_bytes")
    for wrong in ("resend_after_s", "accept_bare_root", "limits.nothing", "plain.limits", "identity"):
        assert not is_setting(wrong)


def test_defaults_of_settings_are_those_of_the_decisions() -> None:
    limits = VtnProgramSettings.model_fields["limits"].default
    assert (limits.accept_bare_root, limits.wrong_method_status) == (False, 501)


def test_rules_without_evidence_here_name_tests_that_exist() -> None:
    elsewhere = [row for row in RULES if row.out.startswith("trust")]
    assert [row.number for row in elsewhere] == [67, 68, 514, 516]
    for row in elsewhere:
        assert row.files
        assert [each for each in row.files if not (TESTS / each).is_file()] == [], row.number


def test_measured_commands_exist() -> None:
    for each in MEASURED:
        module = re.fullmatch(r"python -m (bench\.\w+) --\w+ \d+", each.command)
        assert module is not None
        assert hasattr(importlib.import_module(module[1]), "main")


def test_the_document_is_up_to_date(writes_document: bool) -> None:
    if not writes_document:
        assert PATH.read_text(encoding="utf-8") == render()
