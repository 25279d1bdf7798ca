"""A Vagrant box of plain Debian, for hosts without one to download."""
