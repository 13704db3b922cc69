"""Techniques in order: the plan, the run, the ledger."""
