"""What executes a compressed model."""
