"""Everything that boots machines for frazil: the lab's guests and the Vagrant box."""
