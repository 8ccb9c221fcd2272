"""`ferops results`: print the measured figures beside the paper's."""

from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.text import Text

from ferops import paper
from ferops.commands import layout
from ferops.tracking.outputs import dataset_description, read_json
from ferops.tracking.registry import ledger

_ROWS: Final = {
    "accuracy": "accuracy (of seven)",
    "accuracy_deduplicated": "  without duplicates in training",
    "accuracy_tta": "  with test-time augmentation",
    "binary_accuracy": 'binary accuracy (the paper\'s "accuracy")',
    "f1_macro": "F1, macro",
    "loss": "loss",
    "ece": "calibration error",
}


def show(console: Console, root: Path = Path()) -> None:
    """Print metrics, data and registered version from the pipeline's files.

    Raises:
        MissingOutput: a file is missing or damaged.
    """
    val, test, report, training = (
        read_json(root / name)
        for name in ("metrics/val.json", "metrics/test.json", "data/prepared/report.json", "models/training.json")
    )
    headings = (f"validation\nn = {val['n']:,}", f"test\nn = {test['n']:,}" if test else "test\nclosed")
    table = layout.table("fer-vgg16", "", *headings, "[dim]paper\n(FER2013)[/]")
    for key, label in _ROWS.items():
        table.add_row(label, _figure(key, val), _figure(key, test), f"[dim]{paper.PRINTED.get(key, '')}[/]")
    low, high = (test or val)["accuracy_interval"]
    lines = [
        f"measured on  {dataset_description(report['dataset'])}",
        f"interval     accuracy on {'test' if test else 'validation'}: {low:.1%} to {high:.1%} (95%)",
        f"base         {training['base_weights']['name']}; {_trained(training)}",
        f"model        {_version(root, training['weights_digest'])}",
        "next         make ui    ferops promote    ferops data use ~/Downloads/fer2013.csv --recipe paper && dvc repro",
    ]
    console.print(Group(table, *map(Text, lines)), highlight=False, soft_wrap=True)


def _trained(training: dict[str, Any]) -> str:
    if not training["epochs"]:
        return f"as it is, {training['base_weights'].get('trained_by') or 'trained elsewhere'}"
    return (
        f"{training['epochs']} epochs, the best was {training['best_epoch']}; "
        f"{training['seconds'] / 60:.1f} minutes on {training['hardware']}"
    )


def _figure(key: str, metrics: dict[str, Any]) -> str:
    value = metrics.get(key)
    if value is None:
        return "-"
    return f"{value:.3f}" if key in ("loss", "ece") else f"{value:.1%}"


def _version(root: Path, digest: str) -> str:
    """Return the version with these weights, by reports/registry.jsonl."""
    mine = [event for event in ledger.lines(root / ledger.REGISTRY) if event["weights_digest"] == digest]
    if not mine:
        return "not registered yet: dvc repro publish"
    return f"{mine[-1]['model']} version {mine[-1]['version']}"
