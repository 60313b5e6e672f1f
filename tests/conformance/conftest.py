"""Keeps docs/conformance.md: writes it after a full run without failures, if FEEDERLOOP_WRITE_DOCS=1."""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.conformance.document import PATH, render, rules_in, verified

_WRITE: Final = os.environ.get("FEEDERLOOP_WRITE_DOCS") == "1"
_OUTCOMES: Final = pytest.StashKey[dict[str, bool]]()


@pytest.fixture(scope="session")
def writes_document() -> bool:
    """Whether this run writes the document instead of comparing it."""
    return _WRITE


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    """Note how each test with a rule's number ended."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # what a hook wrapper is sent
    noted = item.config.stash.setdefault(_OUTCOMES, {})
    noted[item.nodeid] = noted.get(item.nodeid, True) and report.passed
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the document, if it is wanted and every rule in it was tested and passed."""
    if not _WRITE:
        return
    noted = session.config.stash.get(_OUTCOMES, {})
    passed = {number for name, good in noted.items() if good for number in rules_in(name)}
    failed = {number for name, good in noted.items() if not good for number in rules_in(name)}
    missing = sorted({row.number for row in verified()} - (passed - failed))
    if missing:
        raise pytest.UsageError(f"{PATH.name} was not written: rules {missing} did not run or did not pass")
    PATH.write_text(render(), encoding="utf-8")
