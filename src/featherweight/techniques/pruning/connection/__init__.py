"""Removes single weights."""
