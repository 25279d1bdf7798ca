"""frazild with one thing broken in it: what the tests' oracles must notice.

Runs in a guest, in place of frazild. The product has no switch for any of this: the functions
are replaced here, in memory, before the daemon starts.

    python3 -m tests.sabotage "die-before control.replica.store:ReplicaStore.commit"
"""
