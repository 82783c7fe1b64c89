"""Faults of services."""
