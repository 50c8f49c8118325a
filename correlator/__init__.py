"""Stitches recorded events into journeys."""
