"""Watched folders: files that appear in them are events of a source."""
