"""frazil on whole Debian machines: ``make e2e-vagrant``."""
