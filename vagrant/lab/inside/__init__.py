"""What runs inside a guest: only the standard library at import, no import of the host side.

The host imports `wire` from here; guests have the folder as /opt/lab/lab_inside.
"""
