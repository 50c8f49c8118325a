"""Send events to Milepost from any Python program. It never blocks and never breaks the caller.

    from milepost.client import Client

    milepost = Client("https://milepost.example.org", key="mp_…", source="/wms/north", spool="/var/spool/milepost")
    milepost.send("picking.packed", {"order": "S00024", "picking": "WH/OUT/00047"}, {"warehouse": "north"})

Only the standard library is needed, and imports inside this folder are relative: it may be copied into another project
under any name. POSIX systems.
"""

from .sender import Client, Stats

__all__ = ["Client", "Stats"]
