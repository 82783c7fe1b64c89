"""Faults of chat."""
