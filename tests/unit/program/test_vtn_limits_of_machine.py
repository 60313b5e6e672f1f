"""Bounds that depend on the machine: open files, and what the collector of garbage leaves alone."""

from __future__ import annotations

import gc
import logging
import resource

import pytest

from config.vtn_settings import Limits, VtnProgramSettings
from feederloop import vtn_limits
from feederloop.process import raise_file_limit, starting
from feederloop.vtn_limits import push_limits, within_files


def settings(connections: int, *, push: bool = False) -> VtnProgramSettings:
    return VtnProgramSettings(push=push, limits=Limits(connections=connections))


def allow(monkeypatch: pytest.MonkeyPatch, files: int) -> list[int]:
    """Let the system allow so many files; return what is asked for."""
    asked: list[int] = []

    def raised(wanted: int) -> int:
        asked.append(wanted)
        return files

    monkeypatch.setattr(vtn_limits, "raise_file_limit", raised)
    return asked


def test_enough_files_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = allow(monkeypatch, 100_000)
    given = settings(12_000)
    assert within_files(given) is given
    assert asked == [12_200]


def test_too_few_files_bound_the_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    allow(monkeypatch, 1024)
    with caplog.at_level(logging.WARNING):
        found = within_files(settings(2000))
    assert found.limits.connections == 1024 - 200
    assert "824 connections" in caplog.text
    assert "LimitNOFILE) to 2200" in caplog.text


def test_pushes_need_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = allow(monkeypatch, 100_000)
    within_files(settings(1000, push=True))
    assert asked == [1000 + 200 + push_limits(settings(1)).connections]


def test_pushes_take_their_bounds_from_the_settings() -> None:
    given = VtnProgramSettings(
        limits=Limits(push_exchanges=24, push_slow_exchanges=7, push_kept=9, push_keep_alive="PT20S")
    )
    found = push_limits(given)
    assert (found.exchanges, found.doubtful_exchanges) == (24, 3)
    assert (found.slow_exchanges, found.kept, found.keep_alive_s) == (7, 9, 20.0)


def test_the_soft_limit_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert raise_file_limit(1) == soft
        if hard == resource.RLIM_INFINITY or hard > soft:
            assert raise_file_limit(soft + 1) == soft + 1
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft + 1, hard)
        else:
            assert raise_file_limit(soft + 1) == soft
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_loaded_at_the_start_is_left_alone() -> None:
    before, thresholds = gc.get_freeze_count(), gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    try:
        with starting():
            assert not gc.isenabled()
            loaded = [[k] for k in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(loaded)
        assert gc.get_threshold()[0] > 700
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_a_start_that_fails_leaves_the_collector_on() -> None:
    thresholds = gc.get_threshold()
    with pytest.raises(RuntimeError, match="no"):
        _fails()
    assert gc.isenabled()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def _fails() -> None:
    with starting():
        raise RuntimeError("no")
