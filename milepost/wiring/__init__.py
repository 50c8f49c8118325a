"""The composition root: the only place that knows every component, and puts them together from the settings."""
