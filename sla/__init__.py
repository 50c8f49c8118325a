"""Holds journeys to the business SLAs: policies, calendars, clocks, breaches."""
