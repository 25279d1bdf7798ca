"""Benchmarks: what is measured and written down, not asserted."""
