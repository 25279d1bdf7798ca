"""frazil's gRPC interfaces. The ``.proto`` files are the source; ``make proto`` makes the rest."""
