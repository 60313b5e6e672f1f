"""Every passive check finds its bad specimens and leaves its good ones alone."""

from __future__ import annotations

import pytest

from schemas.oadr20b.codec import MESSAGE_TYPES
from schemas.oadr20b.rules import RULES, check
from tests.conformance.passive_cases import CASES, Case


def name_of(number: int, case: Case) -> str:
    digits = f"{int(case.rule):03}" if case.rule.isdigit() else case.rule
    return f"rule_{digits}-{'good' if case.good else 'bad'}-{number}"


@pytest.mark.parametrize("case", CASES, ids=[name_of(number, case) for number, case in enumerate(CASES)])
def test_passive(case: Case) -> None:
    found = check(case.message, direction=case.direction, element=case.element, context=case.context)
    if case.good:
        assert not found, [str(each) for each in found]
    else:
        assert case.rule in {each.rule for each in found}, [str(each) for each in found]
        assert all(each.path and each.text for each in found)


def test_every_check_has_a_good_and_a_bad_specimen() -> None:
    numbers = {rule.number for rule in RULES}
    for good in (True, False):
        assert {case.rule for case in CASES if case.good is good} == numbers


def test_a_check_names_messages_of_the_profile() -> None:
    for rule in RULES:
        assert set(rule.messages) <= set(MESSAGE_TYPES)
