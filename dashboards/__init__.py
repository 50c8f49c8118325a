"""The pages and the read API."""
