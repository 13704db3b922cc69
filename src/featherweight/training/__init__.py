"""Fine-tuning and evaluation: one loop, and what it respects."""
