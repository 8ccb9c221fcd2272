"""The evaluation for people: the page that the MLflow UI shows, and the description of a run or version."""

import base64
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, select_autoescape

if TYPE_CHECKING:
    from ferops.tracking.record import Outputs

REPORT: Final = "evaluation/report.html"
"""Path among a run's artifacts."""

RUN: Final = "#/experiments/EXPERIMENT/runs/RUN"
"""Address of the run in a description, until the run's ids are known."""

_FIGURES: Final = {
    "figures/train/curves.png": "Curves",
    "figures/evaluate/confusion_normalised.png": "Confusion matrix, shares of the true class",
    "figures/evaluate/reliability.png": "Confidence against accuracy",
}
_SPLITS: Final = {"val": "validation", "test": "test"}


def page(outputs: "Outputs") -> str:
    """Render the evaluation as one self-contained HTML page; a split that was not scored is left out."""
    files = outputs.files
    figures = {
        title: base64.b64encode(files[path].read_bytes()).decode() for path, title in _FIGURES.items() if path in files
    }
    return _render("report.html.jinja", outputs, figures=figures)


def note(outputs: "Outputs") -> str:
    """Return the description of a run or version in Markdown: model, data, headline figures, link to the page."""
    kept = outputs.report.get("kept", {})
    counts = [sum(kept[split]) for split in ("train", "validation", "test") if split in kept]
    # without the query MLflow's UI shows its pages for language models
    return _render(
        "note.md.jinja", outputs, counts=counts, address=f"{RUN}/artifacts/{REPORT}?workflowType=machine_learning"
    )


def _render(template: str, outputs: "Outputs", **facts: Any) -> str:
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=select_autoescape(["html.jinja"]), trim_blocks=True
    )
    environment.filters["figure"] = _figure
    return environment.get_template(template).render(
        outputs=outputs,
        params=outputs.params,
        training=outputs.training,
        scores={name: outputs.scores[split] for split, name in _SPLITS.items() if outputs.scores[split]},
        **facts,
    )


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
