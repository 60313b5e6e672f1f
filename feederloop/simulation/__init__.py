"""The simulated neighbourhood: homes, network, meters."""
