"""Errors of the engine.

::

    EngineError
     x InvalidFeeder        the network description cannot be used
        x InvalidScript     names file and line of an OpenDSS script
     x PowerFlowDiverged    names the slot and the network state
     x SolverFailed         an optimisation ended without an optimum
        x SolversDisagree   the fast power flow and the model of record differ
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


class InvalidScript(InvalidFeeder):
    """An OpenDSS script says something the model does not cover, or that is not OpenDSS.

    Args:
        file: The script, or the file it includes.
        line: Where in it, from 1.
        reason: What is wrong.
    """

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


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


class SolversDisagree(SolverFailed):
    """The fast power flow and the model of record give different states for the same injections."""


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
