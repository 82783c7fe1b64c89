"""Faults of providers."""
