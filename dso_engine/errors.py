"""Errors of the engine.

::

    EngineError
     x InvalidFeeder        the network description cannot be used
     x PowerFlowDiverged    names the slot and the network state
     x SolverFailed         an optimisation ended without an optimum
     x StaleMeasurement     a meter value is too old to act on
     x ExchangeFailed       the homes' server is out of reach or refused
     x InvalidOrder         an order breaks rule R0 of the auction
     x InvalidAllocation    a phase allocation cannot be computed from what was given
     x InvalidSettlement    accounts cannot be drawn from what was given
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors the engine raises on purpose."""


class InvalidFeeder(EngineError):
    """The network description is incomplete, inconsistent or outside what the model covers."""


class PowerFlowDiverged(EngineError):
    """A power flow has no usable solution.

    Args:
        label: What was being solved, usually the slot and who asked.
        state: A short description of the network state (total and largest injections).
    """

    def __init__(self, label: str, state: str) -> None:
        super().__init__(f"power flow diverged: {label}; {state}")
        self.label = label
        self.state = state


class SolverFailed(EngineError):
    """An optimisation ended with a status other than optimal."""


class StaleMeasurement(EngineError):
    """A measurement is older than its use allows."""


class ExchangeFailed(EngineError):
    """The server between the engine and the homes is out of reach, or refused what was asked."""


class InvalidOrder(EngineError):
    """An order breaks rule R0: one order per meter and slot, integer price, positive integer volume."""


class InvalidAllocation(EngineError, ValueError):
    """A phase allocation was asked for with unusable numbers or too many switches for the exact method."""


class InvalidSettlement(EngineError, ValueError):
    """A settlement's input is inconsistent: non-integer, unbalanced market, feed-in above supplier price."""
