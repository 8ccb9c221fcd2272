"""The registered model: its versions, aliases and events, and the ledger that they can be restored from."""
