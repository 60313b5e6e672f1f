"""What OpenDSS says about a network: our script solved by the real thing, read back as a `GridState`."""

from __future__ import annotations

import numpy as np
import opendssdirect as dss

from dso_engine.model import ComplexArray
from dso_engine.network import Network
from dso_engine.opendss_write import opendss_script
from dso_engine.powerflow import GridState, Injections, transformer_loading, vuf_pct


def solve_script(script: str, tolerance: float = 1e-10) -> None:
    """Run a script; the solution is then OpenDSS's, which is one per process."""
    for line in script.splitlines():
        if line == "Solve":
            dss.Text.Command(f"Set Tolerance={tolerance}")
            dss.Text.Command("Set MaxIterations=1000")
        dss.Text.Command(line)
    if not dss.Solution.Converged():
        raise AssertionError("OpenDSS did not converge")


def opendss_state(
    network: Network, injections: Injections | None = None, tolerance: float = 1e-10
) -> GridState:
    """The state, every figure from OpenDSS's own voltages, currents, powers and losses."""
    solve_script(opendss_script(network, injections), tolerance)
    to_ground = np.array([_bus(bus) for bus in network.buses])
    v = to_ground[:, :3] - to_ground[:, 3:]
    currents, loss_w, neutral_w, neutral_r_w = _lines(network)
    heads = network.head_segments
    s_head = v[network.head_buses] * np.conj(currents[heads, :3]) / 1e3
    dss.Circuit.SetActiveElement(f"Transformer.{network.transformer.id}")
    powers, flows = _complex(dss.CktElement.Powers()), _complex(dss.CktElement.Currents())
    transformer_kw = dss.CktElement.Losses()[0] / 1e3
    s_lv, i_lv = -powers[4:7], -flows[4:7]
    return GridState(
        bus_ids=network.buses,
        line_ids=tuple(segment.id for segment in network.segments),
        v_v=np.abs(v),
        v_n_v=np.abs(to_ground[:, 3]),
        vuf_pct=vuf_pct(v),
        i_a=np.abs(currents[:, :3]),
        i_n_a=np.abs(currents[:, 3]),
        line_loss_kw=loss_w / 1e3,
        neutral_loss_kw=neutral_w / 1e3,
        neutral_loss_r_kw=neutral_r_w / 1e3,
        transformer_loss_kw=transformer_kw,
        transformer_p_kw=s_lv.real,
        transformer_q_kvar=s_lv.imag,
        transformer_s_kva=float(np.abs(s_lv).sum()),
        transformer_loading_pct=100.0 * float(transformer_loading(network, v[0], i_lv).max()),
        transformer_i_n_a=abs(complex(i_lv.sum())),
        transformer_hv_p_kw=powers[:3].real,
        transformer_hv_q_kvar=powers[:3].imag,
        pcc_p_kw=s_head.real,
        pcc_q_kvar=s_head.imag,
        pcc_v_v=np.abs(v[network.head_buses]),
    )


def _complex(flat: object) -> ComplexArray:
    parts = np.array(flat, dtype=np.float64)
    return np.asarray(parts[0::2] + 1j * parts[1::2], dtype=np.complex128)


def _bus(name: str) -> ComplexArray:
    """Voltages to ground of a, b, c and the neutral, which is zero where it has no node."""
    dss.Circuit.SetActiveBus(name)
    found = np.zeros(4, dtype=np.complex128)
    for node, voltage in zip(dss.Bus.Nodes(), _complex(dss.Bus.Voltages()), strict=True):
        found[node - 1] = voltage
    return found


def _lines(network: Network) -> tuple[ComplexArray, float, float, float]:
    """Currents in the series impedance, (segment, 4), and losses: all, the neutral's two ways, W.

    What a terminal shows contains half of the line's capacitive current; the mean of both ends does not.
    """
    currents, loss_w, neutral_w, neutral_r_w = [], 0.0, 0.0, 0.0
    for k, segment in enumerate(network.segments):
        dss.Circuit.SetActiveElement(f"Line.{segment.id}")
        ends, volts = _complex(dss.CktElement.Currents()), _complex(dss.CktElement.Voltages())
        current = (ends[:4] - ends[4:]) / 2.0
        currents.append(current)
        loss_w += dss.CktElement.Losses()[0]
        drop = volts[:4] - volts[4:]
        neutral_w += float(np.real(drop[3] * np.conj(current[3])))
        neutral_r_w += float(network.z4_ohm[k, 3, 3].real * abs(current[3]) ** 2)
    return np.array(currents), loss_w, neutral_w, neutral_r_w
