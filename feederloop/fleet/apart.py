"""Imported once, by the process that workers are forked from: a terminal's Ctrl-C does not reach them.

That one is for the driver, which ends them; otherwise they would die first, each with words of its own.
"""

from __future__ import annotations

import os

os.setpgid(0, 0)
