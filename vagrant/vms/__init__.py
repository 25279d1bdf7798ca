"""Whole Debian machines under Vagrant: up, installed by the README's words, tested, gone again."""
