"""What the engine knows of the network at an instant: meters, commitments, metered energy, and the model.

Nothing here is a decision. Homes are in the order of the network; powers are net import in kW.

Source: mechanisms.md 9, "State estimate".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import Final

import numpy as np

from dso_engine.errors import StaleMeasurement
from dso_engine.estimate import Estimate, Response, estimate_state
from dso_engine.feeder import Network
from dso_engine.fixed_point import FixedPoint
from dso_engine.hourly import HourBook
from dso_engine.model import (
    FloatArray,
    HomeId,
    IntArray,
    Limits,
    Pcc,
    PccReading,
    Phase,
)
from dso_engine.nowcast import Nowcast
from dso_engine.ports import Customer, HomeExchange, TelemetrySource
from dso_engine.powerflow import GridState, Injections, PowerFlow, stress
from dso_engine.trigger import Stress

__all__ = ["Knowledge", "pcc_stress", "reading_of"]

MAX_AGE: Final = timedelta(seconds=30)
_FLOOR_KW: Final = 0.05
"""Weight of a home without PV or plan in a forecast error: it can be wrong too."""


class Knowledge:
    """The engine's view of the network.

    Args:
        record: Model of record of the DSO's network.
        search: Fast power flow of the same network.
        customers: How much PV everybody has.
        exchange: The homes.
        telemetry: The PCC meters.
        book: Commitments.
        nowcast: Expected exchange of homes.
        max_age: How old a reading may be.
    """

    def __init__(
        self,
        *,
        record: PowerFlow,
        search: FixedPoint,
        customers: Sequence[Customer],
        exchange: HomeExchange,
        telemetry: TelemetrySource,
        book: HourBook,
        nowcast: Nowcast,
        max_age: timedelta = MAX_AGE,
    ) -> None:
        self.record = record
        self.search = search
        pv = {customer.home: customer.pv_kwp for customer in customers}
        self._pv_kwp = np.array([pv.get(home.id, 0.0) for home in record.network.homes])
        contract = {customer.home: customer.contract_kva for customer in customers}
        self._contract_kw = np.array([contract.get(home.id, inf) for home in record.network.homes])
        self._max_age = max_age
        self._exchange = exchange
        self._telemetry = telemetry
        self._book = book
        self._nowcast = nowcast

    @property
    def network(self) -> Network:
        """The network as the DSO believes it to be."""
        return self.record.network

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the readings of all PCCs.

        Raises:
            StaleMeasurement: if one is missing, or older than `max_age`.
        """
        readings = await self._telemetry.read(now)
        known = {reading.pcc for reading in readings}
        if missing := [pcc.id for pcc in self.network.pccs if pcc not in known]:
            raise StaleMeasurement(f"no reading of {', '.join(missing)}")
        if old := [r.pcc.id for r in readings if now - r.taken_at > self._max_age]:
            raise StaleMeasurement(f"meters of {', '.join(old)} are older than {self._max_age}")
        return readings

    async def prior(self, slot: datetime, phases: Mapping[HomeId, Phase], now: datetime) -> Injections:
        """Return what each home should exchange in a slot; nothing where nothing is known."""
        expected = await self._nowcast.expected_kw(slot, now)
        p_kw = np.array([expected.get(home.id, 0.0) for home in self.network.homes])
        return Injections(p_kw=p_kw, q_kvar=np.zeros_like(p_kw), phase=self._phases(phases))

    async def flexibility(self, slot: datetime) -> tuple[FloatArray, FloatArray]:
        """Return how far each home said it can raise and lower its import, kW, shape (home,) each.

        Nobody can move further than from one end of his contract to the other.
        """
        absent = await self._exchange.absent(slot)
        found = [self._book.commitment(home.id, slot) for home in self.network.homes]
        present = [c if c is not None and c.home not in absent else None for c in found]
        up = np.array([c.up_w / 1000.0 if c else 0.0 for c in present])
        down = np.array([c.down_w / 1000.0 if c else 0.0 for c in present])
        most = 2.0 * self._contract_kw
        return np.minimum(up, most), np.minimum(down, most)

    def responsive(self, slot: datetime, homes: Sequence[HomeId]) -> int:
        """Return how many of the homes declared any flexibility for the slot."""
        known = (self._book.commitment(home, slot) for home in homes)
        return sum(1 for c in known if c is not None and (c.up_w > 0 or c.down_w > 0))

    def explain(
        self,
        prior: Injections,
        readings: Sequence[PccReading],
        label: str,
        response: Response | None = None,
    ) -> Estimate:
        """Return the state that explains the readings; see :func:`dso_engine.estimate.estimate_state`.

        Behind a PCC that exports, a forecast error is mostly one of the sun, so it is spread by the size of
        the PV; elsewhere by the size of the planned exchange.
        """
        return estimate_state(
            search=self.search,
            record=self.record,
            prior=prior,
            readings=readings,
            label=label,
            response=response,
            error_weight=self._error_weight(prior, readings),
        )

    def _error_weight(self, prior: Injections, readings: Sequence[PccReading]) -> FloatArray:
        exporting = np.array([reading_of(readings, pcc).p_kw < 0.0 for pcc in self.network.pccs])
        by_sun = exporting[self.network.pcc_of(prior.phase)]
        return np.where(by_sun, self._pv_kwp, np.abs(prior.p_kw)) + _FLOOR_KW

    async def forecast(
        self, slot: datetime, phases: Mapping[HomeId, Phase], now: datetime, limits: Limits
    ) -> Stress | None:
        """Return the stress of a coming slot if everything goes as expected; None without any commitment."""
        if not self._book.commitments(slot):
            return None
        state = self.search.solve(await self.prior(slot, phases, now), f"slot {slot:%H:%M}, forecast")
        return self.stress_of(state, limits)

    def stress_of(self, state: GridState, limits: Limits) -> Stress:
        """Return a state's stress in the words of the trigger."""
        seen = stress(self.network, state, limits)
        return Stress(v_dev=seen.v_dev_max, i_load=seen.thermal)

    def _phases(self, phases: Mapping[HomeId, Phase]) -> IntArray:
        return np.array([phases[home.id] for home in self.network.homes], dtype=np.int64)


def reading_of(readings: Sequence[PccReading], pcc: Pcc) -> PccReading:
    """Return the reading of one PCC.

    Raises:
        StaleMeasurement: if there is none.
    """
    for reading in readings:
        if reading.pcc == pcc:
            return reading
    raise StaleMeasurement(f"no reading of {pcc.id}")


def pcc_stress(network: Network, state: GridState, limits: Limits, pcc: Pcc) -> tuple[float, float]:
    """Return how near a PCC is to its limits when exporting and when importing; 1 is at the limit.

    Its own phase at all buses of its feeder counts for the voltage. Loading, of its own feeder and of the
    transformer, counts for the direction the power flows in.
    """
    rows = [k for k, segment in enumerate(network.segments) if segment.feeder == pcc.feeder]
    v_pu = state.v_v[[k + 1 for k in rows], pcc.phase] / limits.v_nominal_v - 1.0
    loading = [
        max(
            float(state.i_a[k, pcc.phase]) / network.segments[k].rated_current_a,
            float(state.i_n_a[k]) / network.segments[k].rated_neutral_current_a,
        )
        for k in rows
    ]
    thermal = max(*loading, state.transformer_loading_pct / 100.0)
    exporting = float(state.pcc_p_kw[network.feeders.index(pcc.feeder), pcc.phase]) < 0.0
    return (
        max(float(v_pu.max()) / limits.v_band, thermal if exporting else 0.0),
        max(-float(v_pu.min()) / limits.v_band, 0.0 if exporting else thermal),
    )
