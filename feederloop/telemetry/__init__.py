"""Meters of a real feeder: adapters that are a :class:`dso_engine.ports.TelemetrySource`."""
