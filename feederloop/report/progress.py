"""Progress of a run: a bar on a terminal, a line per simulated hour elsewhere."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from feederloop.report.wording import clock
from feederloop.simulation.profiles import LOCAL

__all__ = ["Progress"]


class Progress:
    """Shows which slot a run is at, what the last market did and what the price does.

    Writes to standard error by default, so that standard output holds only the result.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._done = 0

    def start(self, total_slots: int) -> None:
        """Show an empty bar; on anything but a terminal nothing yet."""
        self._total, self._done = total_slots, 0
        if not self._console.is_terminal:
            return
        self._bar = RichProgress(
            TextColumn("[bold]{task.fields[slot]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=total_slots, slot="--:--", state="starting")
        self._bar.start()

    def slot(self, slot: datetime, market: str, price: str) -> None:
        """Show that a slot has begun.

        Args:
            slot: Its start, aware.
            market: The last market result in a few words.
            price: What the real-time price does, in a few words.
        """
        state = f"market: {market} | price: {price}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, slot=clock(slot), state=state)
        elif self._done == 0 or slot.astimezone(LOCAL).minute == 0:
            line = f"{clock(slot)}  slot {self._done + 1}/{self._total}  {state}"
            self._console.print(Text(line), soft_wrap=True)
        self._done += 1

    def stop(self) -> None:
        """Complete and leave the bar; harmless if none was started, or twice."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)
            self._bar.stop()
        self._bar, self._task = None, None
