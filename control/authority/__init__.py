"""Who may give a group's heads to applications, where several hosts could: kept in etcd.

Optional, and off by default: the client is not imported then.
"""
