"""The networks the surveys name, small and exact."""
