"""Progress of work that is counted: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["counting"]


@contextmanager
def counting(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how many of how many are done, on standard error.

    Args:
        name: What is counted.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as bar:
            task = bar.add_task(name, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return

    def line(done: int, total: int) -> None:
        if done in (0, total) or done * 10 // total != (done - 1) * 10 // total:
            console.print(Text(f"{name}: {done} of {total}"), soft_wrap=True)

    yield line
