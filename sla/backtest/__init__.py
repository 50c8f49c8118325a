"""Policies tried on stored history: what they would have found, and whom that would have woken. It writes no table."""
