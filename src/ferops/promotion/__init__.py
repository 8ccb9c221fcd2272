"""The promotion gate: the rules as pure functions, and the gate that applies them to the registry."""
