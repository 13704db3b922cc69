"""Removes whole filters, chosen by what they hold or by what they do."""
