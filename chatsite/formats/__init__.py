"""Dates as this site writes them, where Django's own formats are too long or stiff."""
