"""Turns breaches and anomalies into alerts, and delivers them."""
