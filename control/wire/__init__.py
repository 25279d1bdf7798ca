"""What travels between hosts: frames, deltas, streams, channels, and errors."""
