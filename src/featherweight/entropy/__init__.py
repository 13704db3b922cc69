"""Entropy coders: symbols to bits and back. They know nothing of weights."""
