"""A study's report: one HTML page with its drawings, the CSV files of its tables, the SVG files."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path

from feederloop.report.document import document
from feederloop.report.drawing import inline_svg
from feederloop.study.charts import Chart

__all__ = ["Claim", "Report", "Table", "summary", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the thesis says under a figure, what we found, and why they differ."""

    figure: str
    thesis: str
    ours: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows for people and for a CSV file; numbers are already rounded for reading.

    Attributes:
        name: Its file is ``<name>.csv``.
        shown: Whether the page holds it too, or names the file only.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shown: bool = True

    def csv(self) -> str:
        """Return the table as CSV."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a study has to say.

    Attributes:
        name: Folder and command.
        question: What it asks, one sentence.
        setup: With what it was played, a sentence each.
    """

    name: str
    title: str
    question: str
    setup: tuple[str, ...]
    claims: tuple[Claim, ...]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]


def write_report(report: Report, folder: Path) -> Path:
    """Write page, drawings and tables; return the page.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for chart in report.charts:
        (folder / f"{chart.name}.svg").write_text(chart.svg, encoding="utf-8")
    for table in report.tables:
        (folder / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(document(report.title, _body(report)), encoding="utf-8")
    (folder / "summary.md").write_text(summary(report), encoding="utf-8")
    return page


def summary(report: Report) -> str:
    """Return what a study says as Markdown: the part of ``docs/studies.md`` that belongs to it."""
    rows = "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in (c.figure, c.thesis, c.ours, c.why)) + " |"
        for c in report.claims
    )
    setup = "\n".join(f"* {line}" for line in report.setup)
    return (
        f"## {report.title}\n\n{report.question}\n\n`feederloop study {report.name}`\n\n{setup}\n\n"
        f"| figure | the thesis | here | why they differ |\n|---|---|---|---|\n{rows}\n"
    )


def _body(report: Report) -> str:
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="headline">{escape(report.question)}</p>',
        "<h2>How it was played</h2><ul>",
        *(f"<li>{escape(line)}</li>" for line in report.setup),
        "</ul>",
        "<h2>Beside the thesis</h2>",
        _html_table(
            ("figure", "the thesis", "here", "why they differ"),
            tuple((c.figure, c.thesis, c.ours, c.why) for c in report.claims),
        ),
    ]
    for chart in report.charts:
        svg = inline_svg(chart.svg, name=chart.name, label=f"{chart.title}. {chart.caption}")
        parts.append(
            f"<h2>{escape(chart.title)}</h2><figure>{svg}<figcaption>{escape(chart.caption)}</figcaption></figure>"
        )
    for table in report.tables:
        link = f'<a href="{escape(table.name)}.csv">{escape(table.name)}.csv</a>'
        parts.append(f"<h2>{escape(table.title)}</h2><p>{link}</p>")
        if table.shown:
            parts.append(_html_table(table.columns, table.rows))
    return "\n".join(parts)


def _html_table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
