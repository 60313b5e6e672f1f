"""A network, a state of it and the room of its homes, in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dso_engine.hosting import Room
from dso_engine.model import Phase
from dso_engine.network import Network
from dso_engine.opendss_read import VoltageBand
from dso_engine.powerflow import GridState, LimitKind, Violation

__all__ = ["describe", "describe_bands", "describe_broken", "describe_rooms", "describe_state"]


def describe(network: Network) -> Iterator[str]:
    """What the network is."""
    transformer, source = network.transformer, network.source
    yield f"{network.name}: {network.frequency_hz:g} Hz, neutral earthed at: {network.earthing}"
    yield (
        f"  source {source.v_ll_kv:g} kV behind {source.z1_ohm:.4g} ohm; transformer {transformer.id} "
        f"{transformer.s_rated_kva:g} kVA, {transformer.v_hv_ll_kv:g}/{transformer.v_lv_ll_kv:g} kV, "
        f"vk {transformer.vk_percent:.3g} %, vkr {transformer.vkr_percent:.3g} %, "
        f"iron {transformer.pfe_kw:g} kW"
    )
    for row, feeder in enumerate(network.feeders):
        lines = [segment for segment in network.segments if segment.feeder == feeder]
        counts = np.bincount(network.home_phase[network.home_feeder == row], minlength=3)
        homes = ", ".join(f"{phase.name} {counts[phase]}" for phase in Phase)
        yield (
            f"  feeder {feeder}: {len(lines)} segments, {sum(s.length_m for s in lines):.0f} m, "
            f"{counts.sum()} homes ({homes})"
        )
    load, produced = sum(home.p_kw for home in network.homes), sum(u.p_kw for u in network.generators)
    yield f"  base case: load {load:.2f} kW, {len(network.generators)} generators with {produced:.2f} kW"


def describe_state(state: GridState) -> Iterator[str]:
    """The figures of a solved state."""
    yield (
        f"  solved: {state.v_v.min():.2f} to {state.v_v.max():.2f} V, VUF {state.vuf_pct.max():.3f} %, "
        f"neutral {state.v_n_v.max():.2f} V {state.i_n_a.max():.1f} A, "
        f"transformer {state.transformer_loading_pct:.1f} %"
    )
    yield (
        f"  losses: lines {1e3 * state.line_loss_kw:.1f} W, of it neutral "
        f"{1e3 * state.neutral_loss_kw:.1f} W; transformer {1e3 * state.transformer_loss_kw:.1f} W"
    )
    for side, p_kw in (("high", state.transformer_hv_p_kw), ("low", state.transformer_p_kw)):
        yield f"  transformer, {side} side: " + ", ".join(
            f"{phase.name} {p_kw[phase]:.3f} kW" for phase in Phase
        )


def describe_broken(broken: Sequence[Violation]) -> Iterator[str]:
    """The worst of every kind of limit that is broken, and how many more there are."""
    for kind in LimitKind:
        found = sorted(
            (each for each in broken if each.kind is kind),
            key=lambda each: -abs(each.value / each.limit - 1.0),
        )
        if found:
            worst = found[0]
            phase = "" if worst.phase is None else f" {worst.phase.name}"
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            yield f"  broken: {kind} {worst.element}{phase}: {worst.value:.1f}, limit {worst.limit:.1f}{more}"


def describe_bands(network: Network, state: GridState, bands: Sequence[VoltageBand]) -> Iterator[str]:
    """The loads to which OpenDSS would give constant impedance in this state, if there are any."""
    v_v = state.v_v[network.home_bus, network.home_phase]
    out = [
        (band, v) for band, v in zip(bands, v_v, strict=False) if not band.low_v <= float(v) <= band.high_v
    ]
    if out:
        band, v = out[0]
        yield (
            f"  careful: {len(out)} loads are outside of their vminpu to vmaxpu, where OpenDSS takes "
            f"constant impedance and its state is another one; first {band.unit}: {v:.1f} V, "
            f"{band.low_v:.1f} to {band.high_v:.1f} V"
        )


def describe_rooms(network: Network, rooms: Sequence[Room], most_kw: float) -> Iterator[str]:
    """One line for each home."""
    yield "home        feeder phase   room kW  first limit"
    for home, room in zip(network.homes, rooms, strict=True):
        first = f"none up to {most_kw:g} kW" if room.first is None else f"{room.first} {room.element}"
        yield f"{home.id:<12}{home.feeder:>5} {home.phase.name:>5} {room.room_kw:>9.2f}  {first}"
