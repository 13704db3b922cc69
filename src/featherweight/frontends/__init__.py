"""What can be compressed, one kind a file."""
