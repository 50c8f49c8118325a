"""The database: engines, tables, migrations, the embedded server, and what is TimescaleDB's."""
