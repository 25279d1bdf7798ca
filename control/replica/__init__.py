"""The replica: other hosts' volumes, one whole and consistent instant of each, always."""
