"""docs/conformance.md lists every rule of the profile, keeps its promise of coverage, and is up to date."""

from __future__ import annotations

from schemas.oadr20b import rules
from tests.conformance.catalogue import ABSENT, DECISIONS, RULES
from tests.conformance.document import PATH, evidence_of, in_scope, render, rules_in, scenarios, verified
from vtn_server.settings import VtnSettings

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


def test_settings_of_decisions_exist() -> None:
    names = {part.strip(" ,`") for each in DECISIONS for part in each.setting.split("`")[1:2]}
    assert names <= set(VtnSettings.__dataclass_fields__)


def test_the_document_is_up_to_date(writes_document: bool) -> None:
    if not writes_document:
        assert PATH.read_text(encoding="utf-8") == render()
