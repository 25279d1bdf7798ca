"""Random histories of mirrored volumes: the steps, and the plain model that judges them.

The hosts are a world behind an interface: without a kernel (:mod:`tests.soft`), or real ones.
"""
