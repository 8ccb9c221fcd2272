"""Trials of sweeps and comparisons, each a DVC experiment, and the tables and plots of their results."""
