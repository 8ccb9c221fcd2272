"""An evaluation in words: the description of a run or version, and the page that the MLflow UI shows of it."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

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
_ROWS: Final = {
    "accuracy": "accuracy (of seven)",
    "accuracy_deduplicated": "accuracy without duplicates in training",
    "accuracy_tta": "accuracy with test-time augmentation",
    "binary_accuracy": "binary accuracy (the paper's &quot;accuracy&quot;)",
    "f1_macro": "F1, macro",
    "recall_macro": "recall, macro",
    "loss": "loss",
    "ece": "calibration error",
    "n": "images",
}
_SPLITS: Final = {"val": "validation", "test": "test"}
_MEASURES: Final = ("precision", "recall", "f1", "specificity", "support")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f272d; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .9rem; border-bottom: 1px solid #dde3e8; text-align: right }
td:first-child, th:first-child { text-align: left }
img { max-width: 100% }
.note { background: #fff4e0; padding: .6rem 1rem }
"""


def page(outputs: Outputs) -> str:
    """A self-contained HTML page of what the pipeline wrote; a split that stayed closed is not on it."""
    flat, training = outputs.params, outputs.training
    dataset = describe.dataset_description(str(outputs.report.get("dataset")))
    scores = outputs.scores
    shown = {name: scores[key] for key, name in _SPLITS.items() if scores[key]}
    headline = [
        [label, *(_figure(split.get(key)) for split in shown.values())]
        for key, label in _ROWS.items()
        if any(split.get(key) is not None for split in shown.values())
    ]
    name, last = list(shown.items())[-1]
    classes = [
        [escape(cls), *(_figure(row.get(measure)) for measure in _MEASURES)]
        for cls, row in last.get("per_class", {}).items()
    ]
    facts = [
        ["data", f"{escape(dataset)}, split {flat['data.split']}, md5 {outputs.data_md5}"],
        ["system", describe.system(flat)],
        ["base weights", escape(str(flat["model.weights"]))],
        ["epochs", f"{training.get('epochs')}, the best was {training.get('best_epoch')}"],
        ["hardware", escape(str(training.get("hardware", "not known")))],
        ["weights", outputs.weights_digest],
        ["training", outputs.identity],
    ]
    pictures = [
        f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,'
        f'{base64.b64encode(outputs.files[path].read_bytes()).decode()}">'
        for path, title in _FIGURES.items()
        if path in outputs.files
    ]
    warning = (
        '<p class="note">These are synthetic faces, not FER2013: the figures say nothing about people.</p>'
        if outputs.report.get("dataset") == "sample"
        else ""
    )
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>fer-vgg16</title><style>{_STYLE}</style>',
            f"<h1>fer-vgg16 on {escape(dataset)}</h1>",
            warning,
            _table(["", *shown], headline),
            f"<h2>Each expression, {name}</h2>" if classes else "",
            _table(["", *_MEASURES], classes) if classes else "",
            *pictures,
            "<h2>Where it comes from</h2>",
            _table(["", ""], facts),
            "</html>",
        ]
    )


def note(outputs: Outputs, experiment_id: str, run_id: str) -> str:
    """Description of a run or version in Markdown: what, data, headline figures, and the way to the page.

    Args:
        outputs: what the pipeline wrote.
        experiment_id: MLflow's, of the run.
        run_id: of the run that has the page.
    """
    flat, training, figures = outputs.params, outputs.training, outputs.headline
    kept = outputs.report.get("kept", {})
    counts = " / ".join(f"{sum(kept[split]):,}" for split in ("train", "validation", "test") if split in kept)
    frozen = f"blocks 1-{flat['model.frozen_blocks']} frozen" if flat["model.frozen_blocks"] else "nothing frozen"
    scored = {words: f"{split}/" for split, words in _SPLITS.items()}
    accuracies = [
        f"{figures[f'{prefix}accuracy']:.3f} on {words}"
        for words, prefix in scored.items()
        if f"{prefix}accuracy" in figures
    ]
    rows = [
        # MLflow's list of versions shows the first words
        f"Accuracy {', '.join(accuracies)}: {describe.dataset_description(str(outputs.report.get('dataset')))}.",
        "",
        f"- system {describe.system(flat)}; base weights: {flat['model.weights']}, {frozen}; best epoch "
        f"{training.get('best_epoch')} of {training.get('epochs')}",
        f"- data: {counts} images (train / validation / test), split {flat['data.split']}, "
        f"median {flat['preprocess.median_kernel']}, md5 `{outputs.data_md5[:12]}`",
    ]
    for words, prefix in scored.items():
        shown = [
            f"{key.replace('_', ' ')} {figures[prefix + key]:.3f}"
            for key in describe.HEADLINE
            if prefix + key in figures
        ]
        if shown:
            rows.append(f"- {words}: {', '.join(shown)}")
    rows.append(f"- [the whole evaluation](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{REPORT}?{_CLASSIC})")
    return "\n".join(rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
