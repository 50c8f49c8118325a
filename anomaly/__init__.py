"""Learns what normal looks like, scores what is not, and says why."""
