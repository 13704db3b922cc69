"""Techniques that keep every bit."""
