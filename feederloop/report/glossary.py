"""What the words of the report mean, for somebody who opens the page first."""

from __future__ import annotations

from typing import Final

__all__ = ["GLOSSARY"]

GLOSSARY: Final = (
    (
        "Without control",
        "The same homes and the same weather, but each home only minds its own bill: no market, no "
        "switching, no price, no messages.",
    ),
    (
        "Deviation",
        "Voltage between a phase and the neutral, compared with nominal. Solar energy that leaves the homes "
        "raises it, most at the far end of a feeder; load lowers it.",
    ),
    (
        "Imported, exported",
        "Energy through the transformer from and to medium voltage (MV), each phase counted by itself.",
    ),
    (
        "VUF",
        "Voltage unbalance factor: how unequal the three phases are, negative-sequence voltage as a share of "
        "positive-sequence voltage.",
    ),
    (
        "PCC",
        "Point of common coupling: one phase of one feeder, metered at its head. F1-A is phase A of feeder "
        "1. Above zero its homes take energy, below zero they deliver it.",
    ),
    (
        "Market",
        "Before every hour the homes offer what they will need or have left. What matches is traded between "
        "them; buyers never pay more than they bid, sellers never get less than they asked.",
    ),
    (
        "Phase switches",
        "A few homes can be moved to another phase at the edge of a slot, to even out the three.",
    ),
    (
        "Price, armed",
        "When a limit comes close, each PCC gets a price u on top of the tariff, changed every few seconds "
        "until the homes' batteries and flexible loads keep the flow within its bound. Below zero it rewards "
        "taking energy, above zero it rewards saving or delivering it.",
    ),
    (
        "Bound",
        "The largest flow through a PCC that keeps every voltage and current of the network within limits.",
    ),
    (
        "Reward or penalty",
        "For keeping to what a home committed to an hour ahead: a share of what it traded, lost with the "
        "square of the deviation and below zero where that is large. After a cloudy day a clear one is a "
        "large deviation for everybody, since the forecast is the day before.",
    ),
    (
        "Curtailed",
        "Solar energy that was given up because the price alone could not keep the limits.",
    ),
    (
        "Slot",
        "Ten minutes. Limits are judged at the end of each, in the simulated network, not in the DSO's "
        "estimate of it.",
    ),
)
