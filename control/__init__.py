"""frazil's control plane: stacks, cycles, the pump, the replica, the services, the commands."""
