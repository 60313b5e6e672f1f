"""The comparison without control: each home minimises its own bill; no market, no price from the grid."""

from __future__ import annotations

from ven_client.hems.model import SLOTS_PER_HOUR, HomeParameters, Horizon, Plan, RealtimeReserve, Tariffs
from ven_client.hems.plan import without_market
from ven_client.hems.program import Planner

_IDLE = (0.0,) * SLOTS_PER_HOUR


def own_bill(planner: Planner, home: HomeParameters, horizon: Horizon, tariffs: Tariffs) -> Plan:
    """The plan that minimises the home's own bill at supplier and feed-in prices.

    Ties are broken by a flat cost of throughput. Nothing is reserved for real time, so the flexibility in the
    plan is what the flexible load alone could give from its starting state.

    Args:
        planner: Compiled programmes.
        home: Devices and costs.
        horizon: Forecasts to the end of the local day; the caller plans again every hour.
        tariffs: Per slot of the horizon, c/kWh.

    Raises:
        InvalidPrices: if prices do not cover the horizon.
        PlanFailed: if the solver finds no optimum.

    Source: mechanisms.md 12, "without control".
    """
    start_kwh = home.flexible.start_kwh if home.flexible is not None else 0.0
    reserve = RealtimeReserve(charge_kwh=_IDLE, discharge_kwh=_IDLE, flexible_kwh=start_kwh)
    return without_market(planner, home, horizon, tariffs, reserve)
