"""Every attack is refused as it should be, changes nothing, ends soon, costs little, delays nobody else."""

from __future__ import annotations

import time

import pytest

from tests.security.attack import Attack
from tests.security.attacks import ATTACKS, carried_out
from tests.security.grounds import Ground

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

SLOWEST_MS = 5000.0
"""How long a neighbour's poll may take. The figure is 250 ms, and ``python -m bench.attacks`` measures it;
here other programs share the machine."""
SMALL = (
    "XML, VEN",
    "identity",
    "identity, VEN",
    "ids",
    "signature, RSA",
    "signature, EC",
    "signature, VEN",
)
"""Topics of many small attacks, which are carried out one after another between two looks at the state."""


@pytest.mark.parametrize(
    "attack",
    [each for each in ATTACKS if each.topic not in SMALL],
    ids=lambda attack: f"{attack.topic}: {attack.name}",
)
def test_attack(ground: Ground, attack: Attack) -> None:
    outcome = carried_out(attack, ground)
    assert outcome.refusal in attack.refusals
    assert outcome.changed == ()
    assert ground.is_up
    assert outcome.seen.seconds < attack.limit_s
    assert outcome.seen.grown_mb < attack.limit_mb
    assert outcome.seen.slowest_ms < SLOWEST_MS


@pytest.mark.parametrize("topic", SMALL)
def test_attacks_of_a_topic(ground: Ground, topic: str) -> None:
    attacks = [each for each in ATTACKS if each.topic == topic]
    assert attacks
    before = ground.state()
    with ground.watching() as seen:
        for each in attacks:
            began = time.perf_counter()
            refusal = each.run(ground)
            assert refusal in each.refusals, each.name
            assert time.perf_counter() - began < each.limit_s, each.name
    after = ground.state()
    spent = {f"{name} nonces" for name in before} if any(each.spends_nonce for each in attacks) else set()
    assert [name for name in before if after[name] != before[name] and name not in spent] == []
    assert ground.is_up
    assert seen.grown_mb < attacks[0].limit_mb
    assert seen.slowest_ms < SLOWEST_MS
