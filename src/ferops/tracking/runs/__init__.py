"""MLflow runs: logged live while a network trains, completed or rebuilt from the files by `publish`."""
