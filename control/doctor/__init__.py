"""``frazil doctor``: is this host fit for frazil, and if not, what is to be done?"""
