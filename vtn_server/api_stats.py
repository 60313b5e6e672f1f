"""The VTN's counters for people and for Prometheus.

The text is made by prometheus_client from a collector that reads the counters when it is asked; nothing is
counted twice. Names of metrics end as Prometheus wants them: ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from vtn_server.api_desk import Call, Desk
from vtn_server.api_stats_models import Counter, LevelOut, StatsOut
from vtn_server.stats import Counts

__all__ = ["METRICS_TYPE", "metrics_text", "stats"]

METRICS_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""The Content-Type of :func:`metrics_text`."""
_PREFIX: Final = "feederloop_vtn"
_COUNTED: Final = (
    ("messages_in", "messages_received", "message", "Messages received."),
    ("messages_out", "messages_sent", "message", "Messages sent."),
    ("application_errors", "application_errors", "code", "OpenADR errors answered to VENs."),
    ("peer_errors", "peer_errors", "code", "OpenADR errors VENs answered."),
    ("http_errors", "http_errors", "status", "HTTP statuses answered other than 200."),
    ("closed_connections", "closed_connections", "reason", "Connections refused or cut off."),
    ("rule_violations", "rule_violations", "rule", "Breaches of rules of the profile, if they are checked."),
)
_PLAIN: Final = (
    ("bytes_in", "received_bytes", "Bodies received."),
    ("bytes_out", "sent_bytes", "Bodies sent."),
    ("commits", "commits", "Transactions of the store."),
)
_GAUGES: Final = (
    ("vens", "vens", "VENs that are known."),
    ("registered_vens", "registered_vens", "VENs that are registered."),
    ("events", "events", "Events that are not long over."),
    ("pending_items", "pending_items", "Messages that wait for VENs, events apart."),
    ("given_up_items", "given_up_items", "Messages VENs never answered, or answered with an error."),
    ("unanswered_events", "unanswered_events", "Answers to events that are waited for no more."),
)


async def stats(desk: Desk, call: Call) -> StatsOut:
    """Return the counters."""
    del call
    return _figures(desk)


def metrics_text(desk: Desk) -> bytes:
    """Return the counters, and those of the process, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reader(_figures(desk)))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _figures(desk: Desk) -> StatsOut:
    stats = desk.operator.stats()
    vens = desk.operator.vens()
    return StatsOut(
        version=desk.version,
        vtn_id=desk.vtn_id,
        messages_in=_counters(stats.messages_in),
        messages_out=_counters(stats.messages_out),
        application_errors=_counters(stats.application_errors),
        peer_errors=_counters(stats.peer_errors),
        http_errors=_counters(stats.http_errors),
        closed_connections=_counters(stats.closed),
        rule_violations=_counters(stats.rule_violations),
        bytes_in=stats.bytes_in,
        bytes_out=stats.bytes_out,
        commits=stats.commits,
        vens=len(vens),
        registered_vens=sum(each.registered for each in vens),
        events=len(desk.operator.events()),
        pending_items=sum(each.pending for each in vens),
        given_up_items=sum(len(each.given_up) for each in vens),
        unanswered_events=sum(len(each.unanswered_events) for each in vens),
        levels=tuple(
            LevelOut(name=each.limit.value, now=each.now, most=each.most, reached=each.reached)
            for each in stats.levels
        ),
    )


def _counters(counts: Counts) -> tuple[Counter, ...]:
    return tuple(Counter(name=name, count=count) for name, count in counts)


class _Reader(Collector):
    """Turns the figures of one instant into metrics."""

    def __init__(self, figures: StatsOut) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        figures = self._figures
        about = {"version": figures.version, "vtn_id": figures.vtn_id}
        yield InfoMetricFamily(_PREFIX, "The VTN.", value=about)
        for field, name, label, text in _COUNTED:
            family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
            for each in getattr(figures, field):
                family.add_metric([each.name], each.count)
            yield family
        for field, name, text in _PLAIN:
            yield CounterMetricFamily(f"{_PREFIX}_{name}", text, value=getattr(figures, field))
        yield from _levels(figures.levels)
        for field, name, text in _GAUGES:
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=getattr(figures, field))


def _levels(levels: tuple[LevelOut, ...]) -> Iterator[Metric]:
    now = GaugeMetricFamily(f"{_PREFIX}_level", "How full what is bounded is.", labels=["limit"])
    most = GaugeMetricFamily(f"{_PREFIX}_limit", "Bounds.", labels=["limit"])
    reached = CounterMetricFamily(
        f"{_PREFIX}_limit_reached", "How often a bound was reached.", labels=["limit"]
    )
    for each in levels:
        if each.now is not None:
            now.add_metric([each.name], each.now)
        most.add_metric([each.name], each.most)
        reached.add_metric([each.name], each.reached)
    yield from (now, most, reached)
