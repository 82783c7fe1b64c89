"""Fixtures for what tests start themselves: PostgreSQL, Redis, Chromium and our own server."""
