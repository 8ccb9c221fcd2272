"""The evaluation for people: the page that the MLflow UI shows, and the description of a run or version."""

import base64
from typing import Any, Final

from jinja2 import Environment, PackageLoader

from ferops.tracking.runs import describe
from ferops.tracking.runs.outputs import Outputs

REPORT: Final = "evaluation/report.html"
"""Path among a run's artifacts."""

_CLASSIC: Final = "workflowType=machine_learning"
"""Without it MLflow's UI shows its pages for language models."""

_FIGURES: Final = {
    "figures/train/curves.png": "Curves",
    "figures/evaluate/confusion_normalised.png": "Confusion matrix, shares of the true class",
    "figures/evaluate/reliability.png": "Confidence against accuracy",
}
_LABELS: Final = {
    "accuracy": "accuracy (of seven)",
    "accuracy_deduplicated": "accuracy without duplicates in training",
    "accuracy_tta": "accuracy with test-time augmentation",
    "binary_accuracy": 'binary accuracy (the paper\'s "accuracy")',
    "f1_macro": "F1, macro",
    "recall_macro": "recall, macro",
    "loss": "loss",
    "ece": "calibration error",
    "n": "images",
}
_SPLITS: Final = {"val": "validation", "test": "test"}
_MEASURES: Final = ("precision", "recall", "f1", "specificity", "support")


def page(outputs: Outputs) -> str:
    """Render the evaluation as one self-contained HTML page; a split that was not scored is left out."""
    environment = Environment(loader=PackageLoader(__package__, ""), autoescape=True, trim_blocks=True)
    environment.filters["figure"] = _figure
    return environment.get_template("report.html.jinja").render(
        outputs=outputs,
        params=outputs.params,
        training=outputs.training,
        dataset=describe.dataset_description(outputs.dataset),
        scores={name: outputs.scores[split] for split, name in _SPLITS.items() if outputs.scores[split]},
        labels=_LABELS,
        measures=_MEASURES,
        figures={
            title: base64.b64encode(outputs.files[path].read_bytes()).decode()
            for path, title in _FIGURES.items()
            if path in outputs.files
        },
    )


def note(outputs: Outputs, experiment_id: str, run_id: str) -> str:
    """Return the description of a run or version in Markdown: model, data, headline figures, link to the page.

    Args:
        outputs: of the pipeline.
        experiment_id: MLflow's, of the run.
        run_id: of the run that has the page.
    """
    params, training, headline = outputs.params, outputs.training, outputs.headline
    kept = outputs.report.get("kept", {})
    counts = " / ".join(f"{sum(kept[split]):,}" for split in ("train", "validation", "test") if split in kept)
    frozen = f"blocks 1-{params['model.frozen_blocks']} frozen" if params["model.frozen_blocks"] else "nothing frozen"
    accuracies = [
        f"{headline[f'{split}/accuracy']:.3f} on {name}"
        for split, name in _SPLITS.items()
        if f"{split}/accuracy" in headline
    ]
    lines = [
        # MLflow's list of versions shows the first words
        f"Accuracy {', '.join(accuracies)}: {describe.dataset_description(outputs.dataset)}.",
        "",
        f"- system {params['model.name']}; base weights: {params['model.weights']}, {frozen}; best epoch "
        f"{training.get('best_epoch')} of {training.get('epochs')}",
        f"- data: {counts} images (train / validation / test), split {params['data.split']}, "
        f"median {params['preprocess.median_kernel']}, md5 `{outputs.data_md5[:12]}`",
    ]
    for split, name in _SPLITS.items():
        figures = [
            f"{key.replace('_', ' ')} {headline[f'{split}/{key}']:.3f}"
            for key in describe.HEADLINE
            if f"{split}/{key}" in headline
        ]
        if figures:
            lines.append(f"- {name}: {', '.join(figures)}")
    lines.append(f"- [the whole evaluation](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{REPORT}?{_CLASSIC})")
    return "\n".join(lines)


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
