"""Removes what is not needed."""
