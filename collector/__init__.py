"""Takes events in: the HTTP API, the Odoo poller and the importers, up to the acknowledgement."""
