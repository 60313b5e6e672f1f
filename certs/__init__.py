"""Certificates, TLS and XML signatures."""
