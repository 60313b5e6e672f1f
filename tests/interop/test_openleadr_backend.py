"""A whole home behind openleadr's client at our VTN: price in, power out, meter readings back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openleadr import OpenADRClient

from dso_engine.gateway_messages import Contexts, price_signal
from feederloop.simulation.homes import build_household
from feederloop.simulation.scenario import ScenarioOptions, load_scenario
from schemas.oadr20b.enums import ResponseRequired
from schemas.oadr20b.model import Report
from schemas.oadr20b.xmltypes import Duration
from ven_client.binding import HomeApplication
from ven_client.hems.program import Planner
from ven_client.openleadr_backend import OpenleadrBackend
from vtn_server.http import serve
from vtn_server.operator import EventDraft, Operator, Provision, ReportRequestDraft, VenId
from vtn_server.peers import ClaimedNames
from vtn_server.service import VtnService
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

VEN = VenId("ven-H07")
NOON = datetime(2018, 5, 16, 11, 0, tzinfo=UTC)


class Now:
    """An instant the test moves by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


def meter_once(ven_id: VenId, metadata: tuple[Report, ...], at: datetime) -> tuple[ReportRequestDraft, ...]:
    del ven_id
    assert {report.report_specifier_id for report in metadata} == {"meter-energy", "meter-power"}
    return (
        ReportRequestDraft(
            report_specifier_id="meter-energy",
            r_ids=("energy",),
            granularity=Duration(minutes=10),
            report_back_duration=Duration(hours=1),
            start=at,
        ),
    )


async def test_a_high_price_makes_the_home_give_more(tmp_path: Path) -> None:
    now, ids, contexts = Now(), itertools.count(1), Contexts()
    scenario = load_scenario(ScenarioOptions())
    spec = next(each for each in scenario.homes if each.home == "H07")
    household = build_household(scenario, spec, NOON, Planner())
    store = SqlStore(tmp_path / "vtn.sqlite")
    service = await VtnService.start(
        VtnSettings(vtn_id="Feederloop_VTN", identity=Identity.CLAIMED),
        store,
        now=now,
        new_id=lambda: f"id-{next(ids)}",
        report_plan=meter_once,
    )
    operator, server = Operator(service), await serve(service, peers=ClaimedNames())
    await operator.provision([Provision(ven_id=VEN, ven_name="H07")])
    client = OpenADRClient(ven_name="H07", vtn_url=f"{server.url}/OpenADR2/Simple/2.0b", allow_jitter=False)
    application = HomeApplication(
        household.manager, local_market=contexts.market, switch_id=f"switch-{spec.home}"
    )
    backend = OpenleadrBackend(client, application, now)
    try:
        await client.run()
        backend.start()
        before = household.devices.net_kw(now())
        await operator.publish_events(
            [
                EventDraft(
                    event_id="rtc",
                    market_context=contexts.price,
                    dtstart=NOON,
                    duration=Duration(minutes=10),
                    signals=price_signal(40_000),
                    audience=(VEN,),
                    response_required=ResponseRequired.NEVER,
                )
            ]
        )
        now.at = NOON + timedelta(seconds=10)
        await client._poll()  # our metadata report comes first
        await client._poll()  # then the report request
        await client._poll()  # then the price
        assert household.devices.net_kw(now()) < before - 0.1
        assert operator.stats().application_errors == ()
        assert next(v for v in operator.vens() if v.ven_id == VEN).requests[0].acknowledged
    finally:
        await client.stop()
        await server.close()
        await service.close()
        await store.close()
