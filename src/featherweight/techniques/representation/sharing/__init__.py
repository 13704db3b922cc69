"""Several weights share one value."""
