"""The checks: their catalogue, the measurements behind them, their verdicts."""
