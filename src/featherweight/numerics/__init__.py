"""Tensor mathematics: functions, no modules, no state."""
