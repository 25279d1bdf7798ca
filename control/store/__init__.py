"""The persistent exception store of dm-snapshot, read and written from user space.

It is the freeze table of the patent and the data it points at (WO 03/017022, "Data Structure
of a Freeze"): a list of (chunk of the frozen volume, chunk of this store). The kernel writes it
on the source; the replica writes its own, which the kernel accepts.
"""
