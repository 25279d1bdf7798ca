"""frazild with one thing broken in it: what the tests' oracles must notice.

Runs in a guest, in place of frazild. The product has no switch for any of this: the functions
are replaced here, in memory, before the daemon starts.

    frazild-broken "die-before control.replica.store:ReplicaStore.commit"

is what the lab's guests call it.
"""
