"""Facial-expression recognition on FER2013: an MLOps workflow with DVC, Great Expectations, Prefect and MLflow."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ferops.predict.recognizer import ExpressionRecognizer

__all__ = ["ExpressionRecognizer"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used: `import ferops` loads nothing."""
    if name in __all__:
        from ferops.predict import recognizer

        return getattr(recognizer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
