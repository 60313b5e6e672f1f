"""A run is a function of its inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from feederloop.simulation.result import to_json
from tests.e2e.day_rig import WEAK, Day, assert_sound, errors

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


def _play(folder: Path, seed: int, *, apart: bool = False) -> str:
    day = Day(folder=folder, site=WEAK, seed=seed, tls=apart, remote=apart)
    outcome = day.play()
    assert_sound(outcome)
    assert not errors(outcome)
    assert outcome.refused_by_vtn == 0
    result = day.result(outcome)
    assert result.price_changes > 0
    return to_json(result)


def test_a_seed_gives_the_same_bytes_twice_and_another_seed_others(tmp_path: Path) -> None:
    """What is between the parts is not part of the result.

    The second time the VENs use mutual TLS, and the engine has the operator API instead of the VTN itself and
    a CSV file instead of the meters.
    """
    first, again = _play(tmp_path / "1", 1), _play(tmp_path / "2", 1, apart=True)
    other = _play(tmp_path / "3", 2)
    assert first == again
    assert first.replace('"seed": 1', '"seed": 2') != other
