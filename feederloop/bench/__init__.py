"""Figures of the VTN and the engine, measured side by side: ``feederloop bench``."""
