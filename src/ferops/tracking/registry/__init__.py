"""The registered model: versions, aliases, the lock around their changes, and the ledger that restores them."""
