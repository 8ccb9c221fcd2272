"""Facial-expression recognition on FER2013: an MLOps workflow with DVC, Great Expectations, Prefect and MLflow."""
