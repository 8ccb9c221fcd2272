"""Reports in Markdown: of a run its stages, gates, figures and plots; of a promotion the decision and its reasons."""

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, select_autoescape

from ferops import paper, params
from ferops.orchestration.pipeline.dvc_stages import StageResult
from ferops.promotion import gate as promotion_gate
from ferops.tracking import store
from ferops.tracking.outputs import SPLITS, dataset_description, read_json
from ferops.tracking.registry import ledger
from ferops.tracking.registry.ledger import Event
from ferops.tracking.registry.versions import CHAMPION

CONFUSION: Final = "figures/evaluate/confusion_normalised.png"
"""Path of the confusion matrix among a run's artifacts."""

_FIGURES: Final = {"accuracy": "accuracy (of seven)", "binary_accuracy": "binary accuracy", "f1_macro": "F1, macro"}
_PICTURES: Final = {
    "reports/evaluate/confusion_normalised.png": "Confusion matrix, shares of the true class",
    "reports/augment/class_distribution.png": "Training images of each class, before and after augmentation",
}


def stages(results: Iterable[StageResult]) -> str:
    """Return a table of the stages, a row each."""
    rows = ([result.stage, result.state, f"{result.seconds:.1f}", result.message] for result in results)
    return table(["stage", "state", "seconds", "why"], *rows)


def figures(folder: Path) -> str:
    """Compare the figures of metrics/ with those of the champion, by reports/registry.jsonl, and the paper's.

    Raises:
        MissingOutput: metrics/ is missing or damaged.
    """
    columns: dict[str, Mapping[str, Any]] = {}
    for split, name in SPLITS.items():
        scores = read_json(folder / f"metrics/{split}.json")
        columns[f"{name}, n = {scores['n']:,}" if scores else f"{name}: closed"] = scores
    if champion := _champion(folder):
        for split, name in SPLITS.items():
            found = {key: champion["metrics"].get(f"{split}/{key}") for key in _FIGURES}
            columns[f"champion (version {champion['version']}), {name}"] = found
    rows = (
        [label, *(_figure(column.get(key)) for column in columns.values()), paper.PRINTED[key]]
        for key, label in _FIGURES.items()
    )
    low, high = read_json(folder / "metrics/val.json")["accuracy_interval"]
    dataset = dataset_description(str(read_json(folder / "data/prepared/report.json").get("dataset")))
    return (
        f"{table(['', *columns, 'paper (FER2013)'], *rows)}\n\nMeasured on {dataset}. Accuracy on validation: "
        f"{low:.1%} to {high:.1%} (95%). The paper's 90% is a binary accuracy."
    )


def gate(folder: Path, name: str) -> str:
    """Return the result of a gate: the checks of Great Expectations that failed, or how many passed.

    Raises:
        MissingOutput: the gate has not written its results.
    """
    record = read_json(folder / "reports/validate" / name / "validation.json")
    checks, columns = record["checks"], ("name", "split", "expected", "observed")
    failed = [[str(check[key] or "") for key in columns] for check in checks if not check["passed"]]
    if not failed:
        return f"**{name}**: all {len(checks)} checks passed"
    cells = table(["failed check", *columns[1:]], *failed)
    return f"**{name}**: {len(failed)} of {len(checks)} checks failed\n\n{cells}"


def pictures(folder: Path) -> str:
    """Return the plots of a run, which show numbers alone and no face."""
    found = {folder / path: title for path, title in _PICTURES.items() if (folder / path).is_file()}
    return "\n\n".join(picture(path.read_bytes(), title) for path, title in found.items())


def decision(opened: store.Store, verdict: promotion_gate.Verdict, headline: str, confusion: bytes | None) -> str:
    """Return a decision of the promotion gate with the rules and figures that it follows from.

    Args:
        opened: the store with both versions.
        verdict: the gate's.
        headline: the outcome, or what the run waits for.
        confusion: PNG of the challenger's confusion matrix, where MLflow has it.
    """
    versions = [version for version in (verdict.champion, verdict.challenger) if version]
    title = "The challenger's confusion matrix, shares of the true class"
    return render(
        "promotion.md.jinja", headline=headline, verdict=verdict, gate=promotion_gate,
        metrics=sorted({key for version in versions for key in version.metrics if key.startswith("val/")}),
        picture=picture(confusion, title) if confusion else "",
        addresses={version.version: store.page(opened, version.run_id) for version in versions},
        command="" if opened.address.startswith("http") else store.how_to_see(opened.address),
    )  # fmt: skip


def picture(png: bytes, title: str) -> str:
    """Embed a PNG, so that it is shown without its file."""
    return f"### {title}\n\n![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def table(header: Sequence[str], *rows: Sequence[str]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def filled(rows: Iterable[Mapping[str, str]], optional: Collection[str]) -> list[list[str]]:
    """Return the cells of a table, the names of its columns first, without optional columns that no row fills."""
    lines = list(rows)
    columns = [name for name in lines[0] if name not in optional or {line[name] for line in lines} - {"", "-"}]
    return [columns, *([line[name] for name in columns] for line in lines)]


def render(template: str, **facts: Any) -> str:
    """Render a page of this package from its template."""
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=select_autoescape(["html.jinja"]), trim_blocks=True
    )
    return environment.get_template(template).render(facts)


def _champion(folder: Path) -> Event | None:
    """Return the event that registered the champion, by reports/registry.jsonl."""
    events = ledger.lines(folder / ledger.REGISTRY)
    model = store.registered_model(params.load(folder / "params.yaml").model.name)
    digest = ledger.aliases(events).get(model, {}).get(CHAMPION)
    return next((event for event in events if digest and event["weights_digest"] == digest), None)


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
