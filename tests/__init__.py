"""Milepost's tests (a package: without it a test folder named like a package would shadow that package)."""
