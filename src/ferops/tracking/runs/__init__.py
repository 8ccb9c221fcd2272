"""MLflow runs: epochs while a network trains, and the run that `publish` makes of DVC's files."""
