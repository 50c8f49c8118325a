"""Policies that judge a flow: silence, rate, backlog."""
