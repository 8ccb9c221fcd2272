"""Registered models: their versions in MLflow, and the ledger from which a lost registry is rebuilt."""
