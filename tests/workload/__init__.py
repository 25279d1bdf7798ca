"""Applications whose data can be checked: what runs on a head while frazil mirrors it.

Each writes a log of its own operations that outlives the machine it runs on, so that what a
replica holds can be judged against what the application did, and when. Everything here runs
in a guest on Debian's own Python, with the standard library alone.
"""
