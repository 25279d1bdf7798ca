"""Device-mapper as frazil uses it: units, targets, tables, devices, and the freeze window."""
