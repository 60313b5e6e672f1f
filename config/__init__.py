"""Settings and reference data."""
