"""MLflow as a projection of DVC's files; the only package that imports MLflow."""
