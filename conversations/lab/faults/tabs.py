"""Faults of tabs."""
