"""Exports: what is stored, as files that others read (OCEL 2.0, XES, CSV, Parquet). It reads, and writes no table."""
