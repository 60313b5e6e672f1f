"""Command line, composition and simulation."""
