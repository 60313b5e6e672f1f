"""Load and production of the homes, slot by slot, from the profiles in ``config/profiles``.

Local time is fixed UTC+1, as in the file; everything handed out is keyed by aware UTC instants.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from config.settings import data_path

__all__ = ["LOCAL", "SLOTS_PER_DAY", "ProfileError", "Profiles", "load_profiles", "local_midnight"]

LOCAL: Final = timezone(timedelta(hours=1))
SLOTS_PER_DAY: Final = 144
_SLOT_S: Final = 600


class ProfileError(Exception):
    """The profile file is missing, malformed or does not cover what is asked."""


def local_midnight(day: date) -> datetime:
    """Return the start of a local day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=LOCAL).astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profiles:
    """One year of slot means.

    Attributes:
        start: First slot, UTC.
        load_w: Load of each home, shape (home, slot), W.
        pv_w_per_kwp: Production of the neighbourhood per kWp, shape (slot,), W.
    """

    start: datetime
    load_w: NDArray[np.float64]
    pv_w_per_kwp: NDArray[np.float64]

    def index(self, slot: datetime) -> int:
        """Return a slot's position in the arrays.

        Raises:
            ProfileError: if the instant is no slot edge or lies outside the year.
        """
        seconds = (slot - self.start).total_seconds()
        index, rest = divmod(seconds, _SLOT_S)
        if rest or not 0 <= index < self.load_w.shape[1]:
            raise ProfileError(f"{slot.isoformat()} is no slot of the profiles")
        return int(index)

    def load_kw(self, home: int, slot: datetime) -> float:
        """Return the mean load of a home in a slot, kW."""
        return float(self.load_w[home, self.index(slot)]) / 1000.0

    def pv_kw_per_kwp(self, slot: datetime) -> float:
        """Return the mean production per kWp in a slot, kW."""
        return float(self.pv_w_per_kwp[self.index(slot)]) / 1000.0


def load_profiles(path: Path | None = None) -> Profiles:
    """Return the profiles of a file, by default the year that ships with the product.

    Raises:
        ProfileError: if the file cannot be used.
    """
    source = path or data_path("profiles", "homes50_year_10min.npz")
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
            if int(data["step_s"]) != _SLOT_S:
                raise ProfileError(f"{source.name}: a step of {int(data['step_s'])} s, not {_SLOT_S} s")
            load = np.asarray(data["load_w"], dtype=np.float64)
            pv = np.asarray(data["pv_w_per_kwp"], dtype=np.float64)
            start = datetime.fromisoformat(str(data["start"])).astimezone(UTC)
    except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError) as err:
        raise ProfileError(f"{source.name}: {err}") from err
    if load.ndim != 2 or pv.shape != load.shape[1:]:
        raise ProfileError(f"{source.name}: load {load.shape} and production {pv.shape} do not fit")
    return Profiles(start=start, load_w=load, pv_w_per_kwp=pv)
