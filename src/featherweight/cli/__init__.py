"""The command line: one file a verb; the only place that prints or exits."""

from featherweight.cli.app import main

__all__ = ["main"]
