"""`ferops trace`: show which commit, data, parameters and weights a version comes from, and its history."""

import hashlib
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ferops import params
from ferops.commands import layout
from ferops.commands.registry import verify
from ferops.tracking import lineage, store
from ferops.tracking.lineage import File, Source, Stage, requirements_hash
from ferops.tracking.outputs import HEADLINE, SPLITS, dataset_description
from ferops.tracking.pages import report
from ferops.tracking.record import REBUILT, TRAINING, WEIGHTS
from ferops.tracking.registry import versions
from ferops.tracking.registry.ledger import Event
from ferops.tracking.registry.versions import CHAMPION, Trace

_SHORT: Final = 12  # hex digits of a hash that are shown: enough to find it in dvc.lock
# key of an event -> how its value is said
_SAID: Final = {"event": "{}", "alias": "@{}", "previous": "in place of version {}", "experiment": "by experiment {}"}


def trace(
    reference: str | None, console: Console, root: Path = Path(), *, rebuild: bool = False, as_json: bool = False
) -> bool:
    """Show where a version comes from, and optionally rebuild it and compare.

    Args:
        reference: `fer-vgg16@ALIAS`, `fer-vgg16/NUMBER` or `fer-vgg16/DIGEST`; by default the champion of the
            registered model that params.yaml trains.
        console: where it is shown.
        root: the repository's root.
        rebuild: run its pipeline again in a worktree of its commit, and compare.
        as_json: print one JSON object instead of text.

    Returns:
        Whether the rebuilt figures are those recorded; true where nothing was rebuilt.

    Raises:
        BadParams: this is not the repository's root.
        UnknownVersion: there is no such version or alias.
        CannotRebuild, RepositoryError: it cannot be rebuilt here, and why.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    settings = params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store
    reference = reference or f"{store.registered_model(settings.model.name)}@{CHAMPION}"
    with store.session() as opened:
        traced = versions.trace(opened, reference, root)
        origin = verify.rebuild_source(opened, traced) if rebuild else None
    if not as_json:
        console.out(_text(traced, root), highlight=False)
    rows = verify.rebuild(traced, origin, root) if origin else []
    if as_json:
        verified = [row._asdict() for row in rows] if origin else None
        text = json.dumps({**_as_json(traced, root), "verified": verified}, indent=2)
        console.out(text, highlight=False)  # no colours, not even by FORCE_COLOR: the output is read by programs
    elif origin:
        verify.show(rows, console)
    return all(row.passed is not False for row in rows)


def source_name(source: Source | None) -> str:
    """Return `the workspace`, `experiment NAME` or `commit 20c646653b15`."""
    if source is None:
        return "the commit that has its dvc.lock"
    if source.commit is None:
        return "the workspace"
    return f"experiment {source.experiment}" if source.experiment else f"commit {source.commit[:_SHORT]}"


def _text(traced: Trace, root: Path) -> str:
    """Return the text output, in lines of at most 80 columns where names allow it."""
    version, facts, stages = traced.version, traced.facts, lineage.chain(traced.dvc_lock)
    aliases = " ".join(f"@{alias}" for alias in traced.aliases) or "(no alias)"
    chain = "of dvc.lock: what each stage read (<) and wrote (>), with its md5"
    entries = {
        "weights": [version.tags.get(WEIGHTS, "unknown")],
        "training": [version.tags.get(TRAINING, "unknown")],
        "run": _run(traced),
        "commit": _commit(traced, root),
        "trained at": _trained_at(traced),
        "environment": _environment(traced, root),
        "teacher": textwrap.wrap(report.teacher(facts["teacher"]), 67) if facts.get("teacher") else [],
        "data": [dataset_description(facts["dataset"]), f"md5 {facts.get('data_md5')}"] if facts else [],
        "metrics": _metrics(facts.get("metrics", {})),
        "history": _history(traced.events),
        "chain": [chain if stages else "lost: neither MLflow nor git has its dvc.lock"],
    }
    title = f"{version.name} version {version.version}  {aliases}"
    return "\n".join([title, layout.aligned(entries, 13), *_chain(stages)])


def _run(traced: Trace) -> list[str]:
    run = traced.run
    if run is None:
        return [f"missing in MLflow: `dvc repro` on {source_name(traced.source)} restores it"]
    rebuilt = ", rebuilt from the files" if run.data.tags.get(REBUILT) else ""
    return [str(run.info.run_name), f"{run.info.run_id}{rebuilt}"]


def _commit(traced: Trace, root: Path) -> list[str]:
    source = traced.source
    if source is None:
        return ["none: no commit, no experiment and not the workspace holds its dvc.lock"]
    if source.commit is None:
        what = "its dvc.lock" if source.is_whole else "the dvc.lock with its training"
        next_step = "git add dvc.lock params.yaml metrics reports && git commit"
        return [f"none yet, the workspace alone has {what}:", next_step]
    commit = lineage.commit_info(source.commit, root)
    when = _time(datetime.fromisoformat(commit.time).timestamp())
    if source.experiment:  # the subject of its commit is DVC's own
        description = f"DVC experiment {source.experiment}, {when}"
    else:
        description = f"on {', '.join(commit.refs[:3])}, {when}: {commit.subject}"
    lines = [source.commit, description]
    return lines if source.is_whole else [*lines, "its training; the evaluation in that commit is another"]


def _trained_at(traced: Trace) -> list[str]:
    """Return the commit that was HEAD during the training, and whether files differed from it."""
    if traced.run is None:
        return []
    changes = traced.start.get("changes")
    sha = verify.start_commit(traced) or "unknown: not in git, or the run was rebuilt from the files"
    return [sha, f"with uncommitted changes: {changes}"] if changes else [sha]


def _environment(traced: Trace, root: Path) -> Iterator[str]:
    """Yield the training's software and hardware, and whether requirements.lock is the same now."""
    facts = traced.facts
    if locked := traced.start.get("requirements"):
        now = "the same here" if requirements_hash(root) == locked else "another here"
        yield f"requirements.lock {locked[:_SHORT]}, {now}"
    yield f"Keras {facts.get('keras', 'unknown')}, {facts.get('backend', 'unknown')}"
    yield ", ".join(filter(None, (facts.get("hardware") or "unknown hardware", facts.get("precision"))))


def _metrics(metrics: Mapping[str, float]) -> Iterator[str]:
    for split, name in SPLITS.items():
        found = {key.replace("_", " "): metrics.get(f"{split}/{key}") for key in HEADLINE}
        if figures := ", ".join(f"{key} {value:.4f}" for key, value in found.items() if value):
            yield f"{name:<11}{figures}"


def _history(events: Iterable[Event]) -> Iterator[str]:
    """Yield each event with what is said of it, and the gate's comparison and reasons."""
    for event in events:
        said = [text.format(event[key]) for key, text in _SAID.items() if event.get(key)]
        yield " ".join([_time(float(event["time"])), *said])
        decision = event.get("decision") or {}
        if decision.get("difference") is not None:
            low, high = decision["interval"]
            difference = f"accuracy {decision['difference']:+.4f} to the champion's"
            yield f"  {difference}, 95% interval {low:+.4f} to {high:+.4f}"
        yield from (f"  {reason}" for reason in decision.get("reasons") or [])


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _chain(stages: list[Stage]) -> Iterator[str]:
    """Yield each stage with its parameters, inputs and outputs."""
    for stage in stages:
        yield f"  {stage.name}: {stage.cmd}"
        values = ", ".join(f"{key} {value}" for key, value in stage.params.items())
        yield from textwrap.wrap(values, 80, initial_indent="    ", subsequent_indent="    ")
        for sign, files in (("<", stage.deps), (">", stage.outs)):
            yield from (f"    {sign} {name:<60} {md5[:_SHORT]}" for name, md5 in _grouped(files))
    for line in lineage.mismatches(stages):
        yield f"  mismatch: {line}"


def _grouped(files: Iterable[File]) -> Iterator[File]:
    """Yield source modules as one line, with the md5 of the list of their paths and md5s."""
    modules = sorted(file for file in files if file.path.startswith("src/"))
    yield from (file for file in files if file not in modules)
    if modules:
        listing = "".join(f"{file.path} {file.md5}\n" for file in modules)
        md5 = hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()
        yield File(f"{len(modules)} module{'s' if len(modules) > 1 else ''} of src", md5)


def _as_json(traced: Trace, root: Path) -> dict[str, Any]:
    """Return the lineage as plain values, every md5 in full."""
    run, source, version, facts = traced.run, traced.source, traced.version, traced.facts
    if source:
        refs = lineage.commit_info(source.commit, root).refs if source.commit else ()
        origin = {"commit": source.commit, "experiment": source.experiment, "is_whole": source.is_whole, "refs": refs}
    start = verify.start_commit(traced)
    return {
        "schema": "ferops.lineage/1",
        "model": version.name,
        "version": int(version.version),
        "aliases": list(traced.aliases),
        "weights_digest": version.tags.get(WEIGHTS),
        "training": version.tags.get(TRAINING),
        "run": {"id": run.info.run_id, "name": run.info.run_name} if run else None,
        "source": origin if source else None,
        "trained_at": {"commit": start, "uncommitted": bool(traced.start.get("changes"))} if start else None,
        "requirements": traced.start.get("requirements"),
        **{key: facts.get(key) for key in ("keras", "backend", "hardware", "precision", "teacher", "metrics")},
        "dataset": {"name": facts.get("dataset"), "md5": facts.get("data_md5")},
        "stages": [
            {**stage._asdict(), "deps": dict(stage.deps), "outs": dict(stage.outs)}
            for stage in lineage.chain(traced.dvc_lock)
        ],
        "events": list(traced.events),
    }
