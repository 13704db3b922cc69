"""Keeps the numbers themselves in fewer bits."""
