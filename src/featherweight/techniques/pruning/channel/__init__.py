"""Removes channels, chosen by training or by what the layers behind them can do without."""
