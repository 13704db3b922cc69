"""Executes a compressed model in PyTorch."""
