"""What a person sees of a run: progress, table, page with plots, message log."""

from feederloop.report.messages import LoggedExchange
from feederloop.report.page import write_report
from feederloop.report.progress import Progress
from feederloop.report.table import render_table

__all__ = ["LoggedExchange", "Progress", "render_table", "write_report"]
