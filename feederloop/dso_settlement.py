"""Settlement in ``feederloop dso``: its tariff and rebate by the clock, its accounts, its statements."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from config.dso_settings import DsoProgramSettings, RebateSection, TariffSection
from config.settings import SettingsError
from dso_engine.accounts import reward_terms
from dso_engine.day_ahead import DAY_AHEAD
from dso_engine.feeder import Network
from dso_engine.gateway import OpenAdrGateway
from dso_engine.gateway_day_ahead import DayAheadGateway
from dso_engine.gateway_desk import Desk
from dso_engine.gateway_messages import Contexts
from dso_engine.guard import Guard
from dso_engine.hourly import GATE, TariffMillicent
from dso_engine.model import MILLICENT_PER_EUR, HomeId
from dso_engine.ports import Clock, Recorder
from dso_engine.products import local_midnight
from dso_engine.rebate import RebateTerms, rebates
from dso_engine.resumption import ANSWER
from dso_engine.settlement import accounts_of
from dso_engine.settling import Members, Settling, SettlingRules
from feederloop.customers import Connection
from feederloop.dso_ledger import AccountLedger, LedgerError, Member
from feederloop.process import length
from feederloop.statement_files import update_statements
from feederloop.tariffs import tariff_in
from vtn_server.state import VenId

__all__ = [
    "ACCOUNTS",
    "SettlementParts",
    "WallRebate",
    "WallTariff",
    "opened_ledger",
    "settlement",
]

ACCOUNTS: Final = "accounts.sqlite"
"""The accounts in the state folder."""
_STATEMENTS: Final = "statements"
_HOUR: Final = timedelta(hours=1)


class WallTariff(dict[datetime, TariffMillicent]):
    """Prices outside the market for any slot, by the hour of local time."""

    def __init__(self, settings: TariffSection) -> None:
        super().__init__()
        self._zone = ZoneInfo(settings.timezone)
        self._tariff = settings.tariff()

    def __missing__(self, slot: datetime) -> TariffMillicent:
        return tariff_in(self._tariff, slot.astimezone(self._zone).hour)


class WallRebate(dict[datetime, int]):
    """The rebate of any slot, by the hour of local time, 1e-5 EUR/kWh."""

    def __init__(self, settings: RebateSection, timezone: str) -> None:
        super().__init__()
        self._zone = ZoneInfo(timezone)
        self._by_hour = rebates(
            RebateTerms(
                max_millicent=round(settings.max_eur_per_kwh * MILLICENT_PER_EUR),
                mean_production=settings.production or (0.0,) * 24,
            )
        )

    def __missing__(self, slot: datetime) -> int:
        return self._by_hour[slot.astimezone(self._zone).hour]


def opened_ledger(settings: DsoProgramSettings, now: datetime) -> AccountLedger:
    """Return the accounts of the state folder, which is there; new ones begin with the next whole hour.

    Raises:
        SettingsError: if they cannot be used.
    """
    start = (settings.settlement.start or now).astimezone(UTC)  # an hour of the market is one of UTC
    hour = start.replace(minute=0, second=0, microsecond=0)
    first = hour if hour == start else hour + _HOUR
    try:
        return AccountLedger.kept(
            settings.state / ACCOUNTS, timezone=settings.tariff.timezone, first_hour=first
        )
    except LedgerError as err:
        raise SettingsError(str(err)) from err


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementParts:
    """What settlement shares with the engine beside it.

    Attributes:
        since: From when on the homes are those on file; the present, by the VTN's clock where it is known.
    """

    since: datetime
    clock: Clock
    desk: Desk
    network: Network
    ledger: AccountLedger
    tariff: WallTariff
    guard: Guard
    recorder: Recorder


def settlement(
    settings: DsoProgramSettings, parts: SettlementParts, connections: Sequence[Connection]
) -> Settling:
    """Return what settles the homes that have a VEN; nothing of it runs yet.

    Raises:
        SettingsError: if a setting does not fit, or the accounts cannot be written.
    """
    given = settings.settlement
    try:
        parts.ledger.enrol(_members(connections), parts.since)
    except LedgerError as err:
        raise SettingsError(str(err)) from err
    return Settling(
        clock=parts.clock,
        members=_Asked(settings, parts).members,
        ledger=parts.ledger,
        rules=SettlingRules(
            tariff=parts.tariff,
            rebate_millicent=WallRebate(given.rebate, settings.tariff.timezone),
            terms=reward_terms(
                reward_percent=given.reward_percent,
                curvature_c_per_kwh2=settings.costs.reward_curvature_c_per_kwh2,
            ),
            after=length(given.after),
            window=length(given.late_readings),
        ),
        publish=_Published(parts.ledger, settings.state / _STATEMENTS).write,
        guard=parts.guard,
        recorder=parts.recorder,
    )


def _members(connections: Sequence[Connection]) -> tuple[Member, ...]:
    return tuple(
        Member(
            home=each.customer.home,
            ven_id=each.ven_id,
            contract_kva=each.customer.contract_kva if isfinite(each.customer.contract_kva) else None,
        )
        for each in connections
        if each.ven_id is not None
    )


class _Asked:
    """The homes of an hour over the VTN: those on file when its gate closed, also if the file has changed.

    Asked is everybody who may hold a trade, or the volumes of those who do would not balance.
    """

    def __init__(self, settings: DsoProgramSettings, parts: SettlementParts) -> None:
        self._contexts = Contexts(base=settings.market_base)
        self._seed = settings.seed
        self._parts = parts

    def members(self, hour: datetime) -> Members:
        """Return the homes of an hour."""
        parts, midnight = self._parts, local_midnight(hour)
        at_gate = parts.ledger.enrolled(hour - GATE)
        found = self._traders(hour - GATE, hour - ANSWER)
        day = self._traders(midnight - DAY_AHEAD.day_ahead_gate, midnight - DAY_AHEAD.wholesale_gate)
        return Members(
            homes=tuple(each.home for each in at_gate),
            contract_kva={each.home: each.contract_kva for each in found if each.contract_kva is not None},
            source=OpenAdrGateway(
                desk=parts.desk,
                vens=_vens(found),
                switches={},
                pccs=parts.network.pccs,
                contexts=self._contexts,
                seed=self._seed,
                clock=parts.clock,
            ),
            day_ahead=DayAheadGateway(
                desk=parts.desk,
                vens=_vens(day),
                contexts=self._contexts,
                seed=self._seed,
                clock=parts.clock,
            ),
        )

    def _traders(self, gate: datetime, final: datetime) -> tuple[Member, ...]:
        """Return who may hold a trade: an engine started after the gate clears with the homes of its file."""
        ledger = self._parts.ledger
        found: list[Member] = []
        for each in (*ledger.enrolled(gate), *ledger.enrolled_since(gate, final)):
            if all(each.home != other.home and each.ven_id != other.ven_id for other in found):
                found.append(each)
        return tuple(found)


def _vens(members: Sequence[Member]) -> Mapping[HomeId, VenId]:
    return {each.home: VenId(each.ven_id) for each in members}


class _Published:
    """The statements of each local day, in a folder of its own."""

    def __init__(self, ledger: AccountLedger, folder: Path) -> None:
        self._ledger = ledger
        self._folder = folder

    async def write(self, day: date) -> None:
        """Write a day, beside the control of the feeder; a kill before its end leaves it on the list."""
        start, end = self._ledger.span(day, day)
        stated, notes = self._ledger.statements(start, end, corrected=False), self._ledger.notes(start, end)
        await asyncio.to_thread(
            lambda: update_statements(accounts_of(stated), notes, self._folder / day.isoformat())
        )
        self._ledger.published(day)
