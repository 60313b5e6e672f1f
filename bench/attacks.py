"""Every attack of the suite against live servers, while another VEN polls: the answer, and what it costs.

Run: ``python -m bench.attacks``, or with ``--topic XML`` for some of them. Prints one line for each attack;
ends with 1 if one was not refused as it should be, something changed, or another VEN waited for more than
250 ms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.security.attack import Attack
from tests.security.attacks import ATTACKS, Outcome, carried_out
from tests.security.grounds import grounds

_LIMIT_MS: Final = 250.0


def _line(topic: str, name: str, refusal: str, costs: str) -> str:
    return f"{topic:<16}  {name:<46.46}  {refusal:<34.34}  {costs}"


def _is_good(attack: Attack, outcome: Outcome) -> bool:
    return outcome.refusal in attack.refusals and not outcome.changed and outcome.seen.slowest_ms <= _LIMIT_MS


def _tell(attack: Attack, outcome: Outcome) -> None:
    seen = outcome.seen
    costs = f"{seen.seconds:7.2f} s  {seen.grown_mb:6.1f} MB  {seen.slowest_ms:6.0f} ms"
    verdict = "" if _is_good(attack, outcome) else f"  <- {', '.join(outcome.changed) or 'look here'}"
    sys.stdout.write(_line(attack.topic, attack.name, outcome.refusal, costs + verdict) + "\n")


def main() -> int:
    """Carry out the attacks; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", default="", help="only attacks whose topic begins like this")
    chosen = [each for each in ATTACKS if each.topic.startswith(parser.parse_args().topic)]
    costs = f"{'time':>9}  {'memory':>9}  {'another':>9}"
    sys.stdout.write(_line("topic", "attack", "refusal", costs) + "\n")
    outcomes = []
    with tempfile.TemporaryDirectory() as folder, grounds(Path(folder)) as ground:
        for attack in chosen:
            outcome = carried_out(attack, ground)
            _tell(attack, outcome)
            outcomes.append((attack, outcome))
    good = sum(_is_good(attack, outcome) for attack, outcome in outcomes)
    slowest = max((outcome.seen.slowest_ms for _, outcome in outcomes), default=0.0)
    grown = max((outcome.seen.grown_mb for _, outcome in outcomes), default=0.0)
    longest = max((outcome.seen.seconds for _, outcome in outcomes), default=0.0)
    sys.stdout.write(
        f"{good} of {len(outcomes)} refused, nothing changed, nobody else waited for {_LIMIT_MS:.0f} ms\n"
        f"longest {longest:.2f} s, most memory {grown:.1f} MB, longest wait of another VEN {slowest:.0f} ms\n"
    )
    return 0 if good == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
