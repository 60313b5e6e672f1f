"""The DSO engine: market, phases, real-time price and the network model."""
