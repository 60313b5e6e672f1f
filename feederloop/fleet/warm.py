"""Imported once, by the process that workers are forked from: compiles what every one of them would compile.

Pandapower's solver is compiled when it first runs, for seconds; a fork has what its parent has.
"""

from __future__ import annotations

from config.settings import data_path
from dso_engine.block_verified import BlockRecord
from dso_engine.feeder import load_network

__all__ = ["RECORD"]

RECORD = BlockRecord([load_network(data_path("networks", "lv_33h_17pv.json"))])
"""Solved twice while it was made."""
