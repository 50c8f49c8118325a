"""Reads an Odoo and turns what it holds into events: client (RPC), mapping (pure), reader, cursor, poll."""
