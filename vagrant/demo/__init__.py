"""The demo: a volume in use, mirrored between two hosts, and its source's power cut."""
