"""Where a training and a registered model come from: commit, dvc.lock, data, parameters."""
