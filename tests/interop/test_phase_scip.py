"""Phase allocation against SCIP, an exact solver of mixed-integer programmes, on the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyscipopt
import pytest

from dso_engine.model import Phase
from dso_engine.phase import allocate


def scip_cost_kw2(base: list[float], flows: list[float], current: list[Phase], mu: float) -> float:
    """J + mu * operations at the optimum SCIP finds: t >= J as a convex quadratic constraint (eq. 5.5)."""
    model: Any = pyscipopt.Model()
    model.hideOutput()
    model.setParam("limits/gap", 0.0)
    model.setParam("limits/absgap", 0.0)
    model.setParam("randomization/randomseedshift", 0)
    x = [[model.addVar(vtype="B") for _ in Phase] for _ in flows]
    for row in x:
        model.addCons(pyscipopt.quicksum(row) == 1)
    mean = (sum(base) + sum(flows)) / 3.0
    deviation = []
    for phase in Phase:
        d = model.addVar(lb=None)
        placed = pyscipopt.quicksum(flow * row[phase] for flow, row in zip(flows, x, strict=True))
        model.addCons(d == base[phase] - mean + placed)
        deviation.append(d)
    t = model.addVar(lb=0.0)
    model.addCons(t >= pyscipopt.quicksum(d * d for d in deviation))
    operations = pyscipopt.quicksum(1 - row[now] for row, now in zip(x, current, strict=True))
    model.setObjective(t + mu * operations)
    model.optimize()
    assert model.getStatus() == "optimal"
    # SCIP's feasibility tolerance bends t; the cost of its allocation is what counts.
    chosen = [max(Phase, key=lambda p: model.getVal(row[p])) for row in x]
    loads = list(base)
    for flow, phase in zip(flows, chosen, strict=True):
        loads[phase] += flow
    moved = sum(a != b for a, b in zip(chosen, current, strict=True))
    return sum((load - mean) ** 2 for load in loads) + mu * moved


@pytest.mark.parametrize(
    ("switches", "mu"), [(3, 0.25), (6, 0.0), (6, 0.25), (8, 0.25), (9, 0.05), (10, 1.0)]
)
def test_scip_finds_nothing_better(switches: int, mu: float) -> None:
    rng = np.random.default_rng(10 * switches)
    base = [float(p) for p in rng.normal(0.0, 4.0, 3).round(3)]
    flows = [float(p) for p in rng.normal(-1.0, 2.0, switches).round(3)]
    current = [Phase(int(p)) for p in rng.integers(0, 3, switches)]
    mine = allocate((base[0], base[1], base[2]), flows, current, mu)
    theirs = scip_cost_kw2(base, flows, current, mu)
    assert mine.cost_kw2 <= theirs + 1e-9
    assert mine.cost_kw2 == pytest.approx(theirs, abs=1e-4), "and SCIP's is optimal within its tolerance"
