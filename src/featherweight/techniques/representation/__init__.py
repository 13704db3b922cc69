"""Keeps the weights in fewer numbers."""
