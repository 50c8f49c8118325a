"""What happens to events when something fails: `python -m tests.integration.faults --list`."""
