"""Makes docs/conformance.md from the catalogue, the passive checks and the names of the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from schemas.oadr20b import rules
from tests.conformance.catalogue import DECISIONS, MEASURED, RULES, Row

__all__ = ["PATH", "evidence_of", "in_scope", "render", "rules_in", "verified"]

PATH: Final = Path(__file__).parents[2] / "docs" / "conformance.md"
_NUMBER: Final = re.compile(r"rule_(\d{3})(?!\d)")
_SECTIONS: Final = (
    ("3.1 Events, from profile A", 1, 99),
    ("3.2 Events, added by profile B", 100, 199),
    ("3.3 Opts", 200, 299),
    ("3.4 Reports", 300, 399),
    ("3.5 Registration and everything else", 400, 599),
)
_HEAD: Final = """# Conformance to OpenADR 2.0b

Made by the test run; do not edit. `FEEDERLOOP_WRITE_DOCS=1 pytest tests/conformance` writes it anew, and a
normal run fails if it is out of date.

The numbers are those of the profile specification, the words are ours. A *passive check* is a function in
`schemas/oadr20b/rules` that finds breaches in any message of either direction; it has good and bad specimens,
and with `check_rules` it runs in the live servers. A *scenario* is a test in `tests/conformance` with the
number in its name, played against the VTN's service or the VEN's session.

On: V is the VEN, T the VTN, B both.
"""


def rules_in(text: str) -> frozenset[int]:
    """Return the numbers of the rules that a test's name or source mentions."""
    return frozenset(int(number) for number in _NUMBER.findall(text))


def scenarios() -> frozenset[int]:
    """Return the rules that have a scenario: those in the names and ids of the tests."""
    sources = sorted(PATH.parents[1].glob("tests/conformance/test_rules_*.py"))
    return rules_in("\n".join(each.read_text(encoding="utf-8") for each in sources))


def passive() -> frozenset[int]:
    """Return the rules that have a passive check."""
    return frozenset(int(rule.number) for rule in rules.RULES if rule.number.isdigit())


def evidence_of(number: int) -> str:
    """Return how a rule is verified; empty if it is not."""
    found = [
        name
        for name, numbers in (("passive check", passive()), ("scenario", scenarios()))
        if number in numbers
    ]
    return " and ".join(found)


def in_scope() -> tuple[Row, ...]:
    """Return the rules that count."""
    return tuple(row for row in RULES if not row.out)


def verified() -> tuple[Row, ...]:
    """Return the rules that count and are verified."""
    return tuple(row for row in in_scope() if evidence_of(row.number))


def render() -> str:
    """Return the document as it is when every test passes."""
    good, count = len(verified()), len(in_scope())
    lines = [
        _HEAD,
        f"**{len(RULES)} rules, all of them below (100 %). {len(RULES) - count} do not count, each for the"
        f" reason given; of the other {count}, {good} are verified by a test that can fail"
        f" ({100 * good / count:.1f} %).**",
    ]
    for title, first, last in _SECTIONS:
        lines += [
            "",
            f"## {title}",
            "",
            "| rule | on | subject | verified by | result |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in RULES if first <= row.number <= last]
    lines += [
        "",
        "## What the standard leaves open",
        "",
        "Contradictions and gaps, what we do, and the setting where a peer may differ. The settings are",
        "those of `feederloop vtn`, see `config/vtn.toml`.",
        "",
        "| | issue | ours | setting |",
        "|---|---|---|---|",
    ]
    lines += [f"| G{each.number} | {each.issue} | {each.default} | {each.setting} |" for each in DECISIONS]
    lines += [
        "",
        "## Measured",
        "",
        "Runs that are too long for a test; a short form of each is among the tests. Each command fails if",
        "what it looks for is there.",
        "",
        "| command | what it does | found |",
        "|---|---|---|",
    ]
    lines += [f"| `{each.command}` | {each.about} | {each.found} |" for each in MEASURED]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    evidence = evidence_of(row.number)
    how = row.out or evidence or "not covered"
    if row.files:
        how += ": " + ", ".join(f"`tests/{each}`" for each in row.files)
    result = "-" if row.out or not evidence else "pass"
    return f"| {row.number} | {row.on} | {row.subject} | {how} | {result} |"
