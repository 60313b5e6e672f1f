"""The message log of one VEN as a page: what it asked, what the VTN answered, when.

A day of one VEN has thousands of exchanges, most of them polls with nothing to fetch and reports that differ
in their numbers only. So of each kind the first few are kept, and the page counts what it leaves out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final

from lxml import etree

from feederloop.report.document import document
from feederloop.report.wording import LOCAL_NOTE, clock, count

__all__ = ["MAX_EXCHANGES", "MAX_PER_KIND", "MAX_XML_CHARACTERS", "LoggedExchange", "messages_page"]

MAX_EXCHANGES: Final = 250
MAX_PER_KIND: Final = 5
MAX_XML_CHARACTERS: Final = 20_000
"""Of one message; a report of a day in minutes would be most of the page."""

_FROM_VTN: Final = frozenset({"oadrDistributeEvent", "oadrRequestReregistration"})
_SUBJECTS: Final = ("reportSpecifierID", "marketContext")
_UNREADABLE: Final = "(not XML)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedExchange:
    """One HTTP exchange of a VEN as it was on the wire."""

    at: datetime
    """When the request was sent, aware."""
    service: str
    """The last part of the URL: ``EiRegisterParty``, ``OadrPoll`` and so on."""
    request: bytes
    response: bytes
    """Empty if there was none."""
    http_status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    name: str
    subject: str
    """What it is about, in the message's own words: report specifiers or market contexts."""
    xml: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    exchange: LoggedExchange
    request: _Message
    response: _Message

    @property
    def kind(self) -> tuple[str, str]:
        return _kind(self.request), _kind(self.response)


def messages_page(exchanges: Sequence[LoggedExchange], ven_id: str = "") -> str:
    """Return a complete HTML page of a VEN's exchanges, in the order given, with a note on what it omits."""
    title = f"Messages of {ven_id}" if ven_id else "Messages of one VEN"
    entries = [
        _Entry(exchange=exchange, request=_read(exchange.request), response=_read(exchange.response))
        for exchange in exchanges
    ]
    shown = _choose(entries)
    body = [
        '<p class="back"><a href="index.html">← the run</a></p>',
        f"<h1>{escape(title)}</h1>",
        f"<p>Every message is OpenADR 2.0b over HTTP; open one to see it as it was on the wire, indented. "
        f"{LOCAL_NOTE} Inside the messages they are UTC.</p>",
        f'<p class="note">{escape(_omitted(len(entries), len(shown)))}</p>',
    ]
    if entries:
        body.append(_overview(entries, shown))
        body.append("<h2>Exchanges</h2>")
        body.extend(_entry_html(entry) for entry in shown)
    return document(title, "\n".join(body))


def _choose(entries: Sequence[_Entry]) -> list[_Entry]:
    """Keep the first of each kind, up to both caps, in their order."""
    seen: Counter[tuple[str, str]] = Counter()
    kept: list[_Entry] = []
    for entry in entries:
        seen[entry.kind] += 1
        if seen[entry.kind] <= MAX_PER_KIND and len(kept) < MAX_EXCHANGES:
            kept.append(entry)
    return kept


def _omitted(total: int, shown: int) -> str:
    if total == 0:
        return "No exchange was logged."
    if total == shown:
        return f"All of the day's {count(total, 'exchange')} are shown."
    return (
        f"Shown are {shown:,} of {total:,} exchanges: the first {MAX_PER_KIND} of each kind, "
        f"at most {MAX_EXCHANGES} in all; {total - shown:,} are left out. The table counts all."
    )


def _overview(entries: Sequence[_Entry], shown: Sequence[_Entry]) -> str:
    total, kept = Counter(entry.kind for entry in entries), Counter(entry.kind for entry in shown)
    rows = "\n".join(
        f"<tr><th>{escape(request)}</th><td>{escape(response)}</td>"
        f'<td class="n">{number:,}</td><td class="n">{kept[request, response]:,}</td></tr>'
        for (request, response), number in sorted(total.items(), key=lambda item: (-item[1], item[0]))
    )
    return (
        '<h2>Kinds of exchange</h2>\n<div class="wide"><table>\n<thead><tr><th>asked</th><th>answered</th>'
        f'<th class="n">in all</th><th class="n">shown</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div>"
    )


def _entry_html(entry: _Entry) -> str:
    exchange = entry.exchange
    asked, answered = ("VTN", "VEN") if entry.request.name in _FROM_VTN else ("VEN", "VTN")
    failed = (
        "" if exchange.http_status == 200 else f' <strong class="bad">HTTP {exchange.http_status}</strong>'
    )
    parts = "\n".join(
        _message_html(message, f"{sender} → {receiver}")
        for message, sender, receiver in (
            (entry.request, asked, answered),
            (entry.response, answered, asked),
        )
    )
    return (
        f'<section class="exchange"><p class="when"><time>{clock(exchange.at, seconds=True)}</time> '
        f"<span>{escape(exchange.service)}</span>{failed}</p>\n{parts}\n</section>"
    )


def _message_html(message: _Message, direction: str) -> str:
    if not message.name:
        return f'<p class="empty">{direction} empty body</p>'
    subject = f" <em>{escape(message.subject)}</em>" if message.subject else ""
    return (
        f"<details><summary><span>{direction}</span> <b>{escape(message.name)}</b>{subject}</summary>"
        f"<pre>{escape(message.xml)}</pre></details>"
    )


def _kind(message: _Message) -> str:
    if not message.name:
        return "empty body"
    return f"{message.name} ({message.subject})" if message.subject else message.name


def _read(body: bytes) -> _Message:
    """Return name, subject and indented text of a body; whatever it is, never an exception."""
    if not body.strip():
        return _Message(name="", subject="", xml="")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_blank_text=True
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        return _Message(name=_UNREADABLE, subject="", xml=_cut(body.decode("utf-8", errors="replace")))
    etree.indent(root, "  ")
    message = _payload(root)
    return _Message(
        name=_local(message),
        subject=_subject(message),
        xml=_cut(etree.tostring(root, encoding="unicode")),
    )


def _payload(root: etree._Element) -> etree._Element:
    """The message inside oadrPayload/oadrSignedObject, else the root itself."""
    for element in root.iter("{*}oadrSignedObject"):
        return next(element.iterchildren("*"), element)
    return root


def _subject(message: etree._Element) -> str:
    for name in _SUBJECTS:
        found = (element.text or "" for element in message.iter(f"{{*}}{name}"))
        # A URI's last part says enough: the base is the same for all.
        values = dict.fromkeys(text.rstrip("/").rpartition("/")[2] for text in found)
        if any(values):
            return ", ".join(value for value in values if value)
    return ""


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname


def _cut(text: str) -> str:
    if len(text) <= MAX_XML_CHARACTERS:
        return text
    return f"{text[:MAX_XML_CHARACTERS]}\n… {len(text) - MAX_XML_CHARACTERS:,} more characters left out"
