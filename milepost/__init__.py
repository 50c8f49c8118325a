"""The kernel of Milepost: contract, catalog, storage and wiring, and the command line."""
