"""All attacks, and how one is carried out and judged."""

from __future__ import annotations

from dataclasses import dataclass

from tests.security import (
    attacks_http,
    attacks_ids,
    attacks_signature,
    attacks_slow,
    attacks_tls,
    attacks_xml,
)
from tests.security.attack import Attack
from tests.security.grounds import Ground, Seen

__all__ = ["ATTACKS", "Outcome", "carried_out"]

ATTACKS: tuple[Attack, ...] = (
    *attacks_xml.ATTACKS,
    *attacks_http.ATTACKS,
    *attacks_slow.ATTACKS,
    *attacks_tls.ATTACKS,
    *attacks_signature.ATTACKS,
    *attacks_ids.ATTACKS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attack.

    Attributes:
        refusal: How it was refused.
        changed: The servers whose state is another one than before; there should be none.
        seen: What it cost.
    """

    refusal: str
    changed: tuple[str, ...]
    seen: Seen


def carried_out(attack: Attack, ground: Ground) -> Outcome:
    """Carry out an attack while another VEN polls."""
    before = ground.state()
    with ground.watching() as seen:
        refusal = attack.run(ground)
    after = ground.state()
    changed = tuple(
        name
        for name in before
        if before[name] != after[name] and not (attack.spends_nonce and name.endswith(" nonces"))
    )
    return Outcome(refusal=refusal, changed=changed, seen=seen)
