"""What people read of a training: its model card, and in MLflow's UI its page and its description."""

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any, Final

from jinja2 import Environment, PackageLoader, select_autoescape
from markdown_it import MarkdownIt

from ferops.labels import NAMES
from ferops.tracking.outputs import SPLITS, Outputs

REPORT: Final = "evaluation/report.html"
"""Path among a run's artifacts."""

_RUN: Final = "#/experiments/EXPERIMENT/runs/RUN"
"""Address of the run in a description, until the run's ids are known."""

_FIGURES: Final = {
    "figures/train/curves.png": "Curves",
    "figures/evaluate/confusion_normalised.png": "Confusion matrix, shares of the true class",
    "figures/evaluate/reliability.png": "Confidence against accuracy",
}


def card(outputs: Outputs) -> str:
    """Render the model card: Markdown behind the YAML of Hugging Face; a split that was not scored is left out."""
    trained = f"{datetime.fromtimestamp(float(outputs.training['started']), UTC):%Y-%m-%d}"
    return _render("card.md.jinja", outputs, names=NAMES, trained=trained)


def text(model_card: str) -> str:
    """Return a model card without the YAML before its text."""
    return model_card.partition("\n---\n")[2].lstrip()


def page(outputs: Outputs) -> str:
    """Render the model card and the figures as one self-contained HTML page."""
    html = MarkdownIt("js-default").render(text(card(outputs)))
    files = outputs.files
    figures = {
        title: base64.b64encode(files[path].read_bytes()).decode() for path, title in _FIGURES.items() if path in files
    }
    return _render("report.html.jinja", outputs, card=html, figures=figures)


def note(outputs: Outputs) -> str:
    """Return the description of a run or version in Markdown: model, data, headline figures, link to the page."""
    kept = outputs.report.get("kept", {})
    counts = [sum(kept[split]) for split in ("train", "validation", "test") if split in kept]
    # without the query MLflow's UI shows its pages for language models
    return _render(
        "note.md.jinja", outputs, counts=counts, address=f"{_RUN}/artifacts/{REPORT}?workflowType=machine_learning"
    )


def linked(text: str, experiment_id: str, run_id: str) -> str:
    """Return a description with the address of its run."""
    return text.replace(_RUN, f"#/experiments/{experiment_id}/runs/{run_id}")


def _render(template: str, outputs: Outputs, **facts: Any) -> str:
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=select_autoescape(["html.jinja"]), trim_blocks=True
    )
    environment.filters |= {"figure": _figure, "share": _share, "teacher": teacher}
    return environment.get_template(template).render(
        outputs=outputs,
        params=outputs.params,
        training=outputs.training,
        scores={name: outputs.scores[split] for split, name in SPLITS.items() if outputs.scores[split]},
        **facts,
    )


def teacher(record: Mapping[str, Any]) -> str:
    """Return who taught a network, by `teacher` in models/training.json."""
    return f"{record['name']} ({record['weights_digest'][:12]}): {record['share']:.0%} of the targets"


def _figure(value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _share(values: Mapping[str, Any], key: str, count: str | None) -> str:
    """Return a share, with its 95% interval where the number of images that it is a share of is known."""
    share, n = values.get(key), values.get(count or "")
    if share is None or not n:
        return _figure(share)
    # Wilson's interval, as model.metrics has it from scipy.stats: the import takes a fifth of `publish`
    z = NormalDist().inv_cdf(0.975)
    middle, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((middle + side) / (1 + z * z / n) for side in (-width, width))
    return f"{share:.3f} ({max(low, 0):.3f}-{high:.3f})"
