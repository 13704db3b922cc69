"""What a model costs; the unit is in every name."""
