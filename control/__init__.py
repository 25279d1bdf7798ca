"""frazil's control plane: stacks, cycles, the pump, the replica, the services, the commands."""

VERSION = "0.1.0"
