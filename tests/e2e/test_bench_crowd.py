"""``feederloop bench scale|fanout`` with a handful of VENs, against our own VTN process."""

from __future__ import annotations

from pathlib import Path

import pytest

from feederloop.bench.crowd_files import Crowd, push_host
from feederloop.bench.fanout import FanoutChoice, measure_fanout
from feederloop.bench.model import Figure
from feederloop.bench.scale import ScaleChoice, measure_scale

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


def quiet(line: str) -> None:
    del line


def by_name(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    return {each.what: each for each in figures}


async def test_a_few_vens_are_measured() -> None:
    choice = ScaleChoice(vens=6, seconds=1.0, period_s=0.5, processes=1)
    found, remarks = await measure_scale(choice, quiet)
    figures = by_name(found)
    assert figures["errors"].value == 0
    assert figures["polls per second"].value > 3.0
    assert 0.0 < figures["latency of a poll, median"].value <= figures["latency of a poll, longest"].value
    assert figures["CPU of the server per poll"].value > 0.0
    assert figures["memory of a VEN with an event, after it has polled"].most == 12.0
    assert any("6 VENs" in each.text for each in remarks)


async def test_a_price_reaches_those_that_poll_and_those_that_are_pushed_to() -> None:
    choice = FanoutChoice(vens=5, push=6, silent=2, period_s=0.5, between_s=0.1, processes=1)
    found, _ = await measure_fanout(choice, quiet)
    figures = by_name(found)
    assert figures["pull VENs that were not given it"].value == 0
    assert figures["pull VENs whose next poll came back without it"].value == 0
    assert 0.0 < figures["seen by all pull VENs after"].value < 20.0
    pushes = [each for each in found if each.what.startswith("push")]
    assert len(pushes) == 4
    for each in pushes:
        assert 0.0 < each.value < 20.0  # and not the patience of those that never got it


def test_every_push_ven_has_an_address_and_a_certificate_of_its_own(tmp_path: Path) -> None:
    crowd = Crowd(folder=tmp_path, vens=3, push=1)
    crowd.make()
    marks = [mark for _, mark in crowd.read_census()]
    assert len(set(marks)) == 3
    assert len({push_host(k) for k in range(2000)}) == 2000
