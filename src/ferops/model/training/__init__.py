"""Training of a network: its loop, batches, moving average, and what is recorded of the machine."""
