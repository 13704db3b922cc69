"""The compressed file: docs/format.md in code."""
