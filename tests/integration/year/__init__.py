"""Months of the simulated network through the real chain, and what must be found in them."""
