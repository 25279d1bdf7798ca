"""What runs in guests."""
