"""All reading that the pages and the read API do: SQL over milepost.db.tables, a Connection in, plain data out.

Nothing here writes, nothing counts over events, every list is bounded and paged by keyset. A page's queries together
stay below 300 ms at a million journeys.
"""
