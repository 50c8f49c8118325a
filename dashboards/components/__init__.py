"""The parts that pages are made of. They know how things look, never where data comes from."""
