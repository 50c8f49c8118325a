"""Objectives: error budgets, how fast they burn, and who hears of it."""
