"""The networks: the paper's, those of its Table 3, and ours, each built by the name in `model.name`."""
