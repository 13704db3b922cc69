"""Another network that does the same with less."""
