"""A simulated distribution network, for the demo."""
