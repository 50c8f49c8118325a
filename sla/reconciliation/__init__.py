"""Two sources' views of the same objects, compared in SQL; what differs becomes rows, events and an alert."""
