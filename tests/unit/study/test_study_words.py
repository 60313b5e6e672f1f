"""What was played, in words."""

from __future__ import annotations

from datetime import date

import pytest

from feederloop.study.settings import DAYS
from feederloop.study.words import counted, days_in_words, sentence, signed


def test_days_are_those_that_were_played() -> None:
    assert days_in_words(DAYS) == "six days, Monday 14 May to Saturday 19 May 2018"
    assert days_in_words((*DAYS, *DAYS[::-1])) == days_in_words(DAYS)
    assert days_in_words(DAYS[2:3]) == "Wednesday 16 May 2018 (a quick run; the study has 6 days)"
    assert days_in_words(reversed(DAYS[:2])) == (
        "two days, Monday 14 May to Tuesday 15 May 2018 (a quick run; the study has 6 days)"
    )
    assert days_in_words(()) == "no day"
    assert sentence(days_in_words(DAYS)).startswith("Six days")
    assert sentence("") == ""
    assert days_in_words((date(2018, 12, 1),)).startswith("Saturday 1 December 2018")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "no seeds"), (1, "one seed"), (2, "two seeds"), (12, "12 seeds")]
)
def test_counts(count: int, said: str) -> None:
    assert counted(count, "seed") == said


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(-0.4, 0, "0"), (0.04, 1, "0.0"), (-0.06, 1, "-0.1"), (12.6, 0, "+13"), (-12.6, 0, "-13")],
)
def test_signs_and_no_minus_nothing(value: float, digits: int, said: str) -> None:
    assert signed(value, digits) == said
