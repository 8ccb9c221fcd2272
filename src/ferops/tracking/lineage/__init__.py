"""Lineage of a training and of a registered model: commit, dvc.lock, data, parameters."""
