"""MLflow as a projection of DVC's files; the only room that knows MLflow."""
