"""The fault lab: the real site as processes, faults at seeded moments, and what observers saw."""
