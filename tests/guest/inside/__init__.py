"""What guest tests run inside a guest."""
