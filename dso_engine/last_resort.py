"""The last resort: exports behind a PCC are bounded where its price cannot do it.

Source: signals.md "Last resort", mechanisms.md 9 "Infeasible or saturated".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from dso_engine.curtail import corrected_cap_kw, export_cap_kw
from dso_engine.estimate import Estimate
from dso_engine.feeder import Network
from dso_engine.knowledge import reading_of
from dso_engine.model import HomeId
from dso_engine.ports import Customer, HomeExchange, Recorder
from dso_engine.records import CurtailRecord
from dso_engine.slot_run import SlotRun

__all__ = ["LastResort"]


class LastResort:
    """Bounds exports, and corrects the bound by what the meter shows.

    Args:
        network: The homes and their order.
        customers: Who has PV and can be told.
        exchange: The homes.
        recorder: Takes a record of every bound.
        wait: How long a bound is given to work before it is corrected.
    """

    def __init__(
        self,
        *,
        network: Network,
        customers: Sequence[Customer],
        exchange: HomeExchange,
        recorder: Recorder,
        wait: timedelta,
    ) -> None:
        self._network = network
        self._pv = frozenset(c.home for c in customers if c.pv_kwp > 0.0 and c.participates)
        self._exchange = exchange
        self._recorder = recorder
        self._wait = wait

    async def apply(self, run: SlotRun, now: datetime) -> None:
        """Bound the exports of every PCC that needs it."""
        for each in run.runs:
            needed = each.wanted.c_lo_kw
            if needed is None or not (each.exhausted or each.cap_kw is not None):
                continue
            target_kw = needed + each.tightening.export_kw
            shortage_kw = target_kw - reading_of(run.last, each.pcc).p_kw
            homes = tuple(home for home in each.homes if home in self._pv)
            if each.cap_kw is None:
                if shortage_kw <= 0.0 or not homes or run.estimate is None:
                    continue
                cap_kw = export_cap_kw(self._exports(run.estimate, homes), shortage_kw)
            else:
                if each.capped_at is not None and now - each.capped_at < self._wait:
                    continue
                cap_kw = corrected_cap_kw(each.cap_kw, homes=len(homes), shortage_kw=shortage_kw)
            if each.cap_kw is None or round(1000 * cap_kw) != round(1000 * each.cap_kw):
                bounds = {home: round(1000.0 * cap_kw) for home in homes}
                await self._exchange.curtail(run.slot, each.pcc, bounds)
                each.cap_kw, each.capped_at = cap_kw, now
                self._recorder.record(
                    CurtailRecord(slot=run.slot, at=now, pcc=each.pcc, export_w=tuple(bounds.items()))
                )

    def _exports(self, estimate: Estimate, homes: Sequence[HomeId]) -> list[float]:
        wanted = set(homes)
        return [
            max(0.0, -float(p))
            for home, p in zip(self._network.homes, estimate.p_kw, strict=True)
            if home.id in wanted
        ]
