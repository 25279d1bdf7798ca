"""What the template runs once, so that clones find it in their page cache."""

from __future__ import annotations


def touch() -> None:
    """Use the libraries once: their files are then cached, and their lazy parts loaded."""
    import sqlite3

    import zstandard
    from pyroute2 import IPRoute

    with sqlite3.connect(":memory:") as database:
        database.execute("select 1")
    zstandard.ZstdCompressor().compress(b"frazil")
    with IPRoute() as routes:
        routes.get_links()
