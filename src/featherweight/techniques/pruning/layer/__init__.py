"""Removes whole layers and blocks."""
