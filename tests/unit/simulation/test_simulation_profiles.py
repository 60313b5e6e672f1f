"""Profiles: the right row and column, and typed refusals."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from feederloop.simulation.profiles import ProfileError, Profiles, load_profiles, local_midnight

START = datetime(2018, 1, 1, tzinfo=UTC)
SMALL = Profiles(
    start=START,
    load_w=np.array([[100.0, 200.0, 300.0], [400.0, 500.0, 600.0]]),
    pv_w_per_kwp=np.array([0.0, 250.0, 500.0]),
)


def test_home_and_slot_are_looked_up() -> None:
    slot = START + timedelta(minutes=10)
    assert SMALL.load_kw(0, slot) == 0.2
    assert SMALL.load_kw(1, slot) == 0.5
    assert SMALL.pv_kw_per_kwp(slot) == 0.25
    assert SMALL.index(START) == 0
    assert SMALL.index(START + timedelta(minutes=20)) == 2


@pytest.mark.parametrize("minutes", [-10, 30, 5, 10.5])
def test_instants_that_are_no_slot_are_named(minutes: float) -> None:
    with pytest.raises(ProfileError, match="is no slot of the profiles"):
        SMALL.index(START + timedelta(minutes=minutes))


def test_the_year_that_ships() -> None:
    year = load_profiles()
    assert year.load_w.shape[0] == 50
    assert year.load_w.shape[1] == year.pv_w_per_kwp.shape[0] == 365 * 144
    first = local_midnight(date(2018, 5, 16))
    assert first == datetime(2018, 5, 15, 23, tzinfo=UTC)
    assert year.pv_kw_per_kwp(first) == 0.0
    assert 0.5 < year.pv_kw_per_kwp(first + timedelta(hours=12)) <= 1.2
    assert year.load_w.min() >= 0.0


def write(path: Path, **changes: object) -> Path:
    content: dict[str, object] = {
        "step_s": 600,
        "load_w": SMALL.load_w,
        "pv_w_per_kwp": SMALL.pv_w_per_kwp,
        "start": START.isoformat(),
    }
    arrays = {key: np.asarray(value) for key, value in (content | changes).items() if value is not None}
    np.savez(path, allow_pickle=False, **arrays)
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    found = load_profiles(write(tmp_path / "own.npz"))
    assert found.start == START
    assert np.array_equal(found.load_w, SMALL.load_w)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_s": 900}, "a step of 900 s, not 600 s"),
        ({"load_w": None}, "load_w"),
        ({"start": "yesterday"}, "yesterday"),
        ({"pv_w_per_kwp": np.zeros(2)}, r"load \(2, 3\) and production \(2,\) do not fit"),
        ({"load_w": np.zeros(3)}, "do not fit"),
    ],
)
def test_malformed_files(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_profiles(write(tmp_path / "own.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"not a profile", b"PK\x03\x04 half a zip file"])
def test_no_profile_at_all(tmp_path: Path, content: bytes) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ProfileError, match=r"array\.npy"):
        load_profiles(tmp_path / "array.npy")
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=r"own\.npz"):
        load_profiles(path)
    with pytest.raises(ProfileError, match="missing"):
        load_profiles(tmp_path / "missing.npz")
