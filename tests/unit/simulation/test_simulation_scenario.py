"""Who lives where: what data decides, what the seed decides, and what is refused."""

from __future__ import annotations

import itertools
import json
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from config.settings import data_path
from dso_engine.errors import InvalidFeeder
from dso_engine.model import SLOT
from feederloop.simulation.profiles import SLOTS_PER_DAY
from feederloop.simulation.scenario import Scenario, ScenarioError, ScenarioOptions, load_scenario


@cache
def scenario(seed: int = 1, name: str | None = None, homes: int = 50) -> Scenario:
    return load_scenario(ScenarioOptions(seed=seed, scenario=name, homes=homes))


def owners(of: Scenario) -> list[tuple[str, bool, bool, bool]]:
    return [(s.home, s.pv_kwp > 0.0, s.has_battery, s.has_switch) for s in of.homes]


def test_the_default_is_scenario_d_on_the_rural_network() -> None:
    found = scenario()
    table = json.loads(data_path("networks", "scenarios.json").read_text(encoding="utf-8"))
    d = table["scenarios_50h"]["D"]
    assert found.name == "D"
    assert found.network.name == "lv_50h_rural"
    assert {s.home for s in found.homes if s.pv_kwp} == {*d["pv_battery"], *d["pv_only"]}
    assert {s.home for s in found.homes if s.has_battery} == {*d["pv_battery"], *d["battery_only"]}
    assert {s.pv_kwp for s in found.homes} == {0.0, 4.5}
    assert sum(s.has_switch for s in found.homes) == 6
    assert [s.home for s in found.homes] == [h.id for h in found.network.homes]
    assert [s.index for s in found.homes] == list(range(50))


def test_the_chapter_4_neighbourhood() -> None:
    found = scenario(homes=33)
    assert (found.name, len(found.homes)) == ("chapter4_33h", 33)
    assert {s.pv_kwp for s in found.homes} == {0.0, 3.0}


def test_adoption_only_grows() -> None:
    sets = [{s.home for s in scenario(name=name).homes if s.pv_kwp} for name in "ABCD"]
    assert all(a < b or a == b for a, b in itertools.pairwise(sets))


def test_the_seed_changes_draws_and_not_who_owns_what() -> None:
    one, two = scenario(1), scenario(2)
    assert owners(one) == owners(two)
    for attribute in ("bid_factor", "ask_factor", "noise_seed"):
        pairs = [
            (getattr(a, attribute), getattr(b, attribute)) for a, b in zip(one.homes, two.homes, strict=True)
        ]
        assert all(a != b for a, b in pairs), attribute
    again = load_scenario(ScenarioOptions(seed=1))
    assert again.homes == one.homes


def test_draws_do_not_depend_on_who_owns_what() -> None:
    """The same home draws the same limits in every scenario of a seed."""
    limits = [[(s.bid_factor, s.ask_factor) for s in scenario(name=name).homes] for name in "AD"]
    assert limits[0] == limits[1]


def test_draws_lie_in_their_ranges() -> None:
    market = scenario().parameters.market
    for spec in scenario().homes:
        assert market.bid_factor_low <= spec.bid_factor <= market.bid_factor_high
        assert market.ask_factor_low <= spec.ask_factor <= market.ask_factor_high


def test_noise_depends_on_seed_home_and_slot_only() -> None:
    one, slot = scenario(1), scenario(1).midnight + 40 * SLOT
    home, other = one.homes[3], one.homes[4]
    first = one.noise(home, slot)
    one.noise(other, slot)
    one.noise(home, slot + SLOT)
    assert one.noise(home, slot) == first, "however often it is asked, and in which order"
    assert load_scenario(ScenarioOptions(seed=1, scenario="A")).noise(home, slot) == first
    assert one.noise(other, slot) != first
    assert one.noise(home, slot + SLOT) != first
    assert scenario(2).noise(scenario(2).homes[3], slot) != first


def test_noise_is_five_per_cent_around_one() -> None:
    one = scenario()
    draws = np.array([one.noise(h, one.midnight + k * SLOT) for h in one.homes for k in range(40)])
    assert draws.mean() == pytest.approx(1.0, abs=0.01)
    assert draws.std() == pytest.approx(0.05, abs=0.005)
    assert draws.min() >= 0.0


def test_pv_rating_can_be_chosen() -> None:
    found = load_scenario(ScenarioOptions(pv_kwp=6.0))
    assert {s.pv_kwp for s in found.homes} == {0.0, 6.0}
    noon = found.midnight + 72 * SLOT
    pv = next(s for s in found.homes if s.pv_kwp)
    small = scenario()
    assert found.pv_kw(pv, noon) == pytest.approx(6.0 / 4.5 * small.pv_kw(small.homes[pv.index], noon))
    none = next(s for s in found.homes if not s.pv_kwp)
    assert found.pv_kw(none, noon) == 0.0


def test_switches_go_to_the_homes_with_the_highest_mean_flow() -> None:
    found = scenario()
    before = [found.midnight - timedelta(days=1) + k * SLOT for k in range(SLOTS_PER_DAY)]
    flow = {
        s.home: np.mean([abs(found.load_kw(s, t) - found.pv_kw(s, t)) for t in before]) for s in found.homes
    }
    chosen = [flow[s.home] for s in found.homes if s.has_switch]
    assert min(chosen) > np.median(list(flow.values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ScenarioOptions(homes=42), r"42 homes: only \[33, 50\]"),
        (ScenarioOptions(scenario="E"), r"no scenario 'E'; there are A, B, C, D, chapter4_33h"),
        (ScenarioOptions(homes=33, scenario="D"), r"names homes the network lacks: H34, H35"),
    ],
)
def test_what_does_not_fit_is_refused(options: ScenarioOptions, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(options)


def test_a_network_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidFeeder, match=r"mine\.json"):
        load_scenario(ScenarioOptions(network=path))


def test_midnight_is_local() -> None:
    found = load_scenario(ScenarioOptions(day=date(2018, 7, 1)))
    assert found.midnight.isoformat() == "2018-06-30T23:00:00+00:00"
