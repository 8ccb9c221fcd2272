"""`ferops trace`: which commit, data, parameters and weights a version comes from, and what happened to it since."""

import hashlib
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ferops import params
from ferops.commands import verify
from ferops.tracking import store, tags
from ferops.tracking.lineage import origins
from ferops.tracking.lineage.identity import requirements_hash
from ferops.tracking.lineage.origins import File, Trace
from ferops.tracking.registry.ledger import Event
from ferops.tracking.runs import describe
from ferops.tracking.store import MODEL

SCHEMA: Final = "ferops.lineage/1"

_SHORT: Final = 12
"""Hex digits of a hash that are shown: enough to find it in dvc.lock."""

_LABEL: Final = 13
_WIDTH: Final = 80


def trace(
    reference: str, console: Console, root: Path = Path(), *, rebuild: bool = False, as_json: bool = False
) -> bool:
    """Show where a version comes from; rebuild it and compare, where asked for.

    Args:
        reference: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`.
        console: where it is shown.
        root: the repository's root.
        rebuild: run its pipeline again in a worktree of its commit, and compare.
        as_json: one JSON object instead of text for people.

    Returns:
        Whether the rebuilt figures are those recorded; true where nothing was rebuilt.

    Raises:
        BadParams: this is not the repository's root.
        UnknownVersion: there is no such version or alias.
        CannotRebuild, RepositoryError: it cannot be rebuilt here, and why.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store
    with store.session() as opened:
        traced = origins.trace(opened, reference, root)
        origin = verify.origin(opened, traced) if rebuild else None
    if not as_json:
        console.print("\n".join(_lines(traced, root)), markup=False, highlight=False, soft_wrap=True)
    rows = verify.rebuild(traced, origin, root) if origin else []
    if as_json:
        verified = [row._asdict() for row in rows] if origin else None
        console.print_json(data={**_as_json(traced, root), "verified": verified})
    elif origin:
        verify.show(rows, console)
    return all(row.passed is not False for row in rows)


def _lines(traced: Trace, root: Path) -> Iterator[str]:
    """Everything, for people, in lines of at most 80 columns where names allow it."""
    version = traced.version
    yield f"{MODEL} version {traced.number}  {' '.join(f'@{alias}' for alias in traced.aliases) or '(no alias)'}"
    yield from _entry("weights", [version.tags.get(tags.WEIGHTS_DIGEST, "unknown")])
    yield from _entry("training", [version.tags.get(tags.TRAINING, "unknown")])
    yield from _entry("run", _run(traced))
    yield from _entry("commit", _commit(traced, root))
    yield from _entry("trained at", _trained_at(traced))
    yield from _entry("environment", _environment(traced, root))
    dataset = traced.fact("ferops.dataset")
    yield from _entry(
        "data", [describe.dataset_description(dataset), f"md5 {traced.fact('ferops.data_md5')}"] if dataset else []
    )
    yield from _entry("metrics", _metrics(traced))
    yield from _entry("history", _history(traced.events))
    yield from _chain(traced.dvc_lock)


def _entry(label: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{label if number == 0 else '':<{_LABEL}}{line}"


def _run(traced: Trace) -> list[str]:
    run = traced.run
    if run is None:
        where = f"on {_named(traced)}" if traced.source else "on the commit that has its dvc.lock"
        return [f"gone from MLflow: `dvc repro` {where} brings it back"]
    rebuilt = ", rebuilt from the files" if run.data.tags.get(tags.REBUILT) else ""
    return [str(run.info.run_name), f"{run.info.run_id}{rebuilt}"]


def _named(traced: Trace) -> str:
    source = traced.source
    if source is None or source.commit is None:
        return "the workspace as it is"
    return f"experiment {source.experiment}" if source.experiment else f"commit {source.commit[:_SHORT]}"


def _commit(traced: Trace, root: Path) -> list[str]:
    source = traced.source
    if source is None:
        return ["none: no commit, no experiment and not the workspace holds its dvc.lock"]
    if source.commit is None:
        what = "its dvc.lock" if source.is_whole else "the dvc.lock with its training"
        return [
            f"none yet, the workspace alone has {what}:",
            "git add dvc.lock params.yaml metrics reports && git commit",
        ]
    known = origins.commit_info(source.commit, root)
    when = _when(datetime.fromisoformat(known.time).timestamp())
    if source.experiment:  # its subject is DVC's own
        told = f"DVC experiment {source.experiment}, {when}"
    else:
        told = f"on {', '.join(known.refs[:3])}, {when}: {known.subject}"
    lines = [source.commit, told]
    return lines if source.is_whole else [*lines, "its training; the evaluation in that commit is another"]


def _trained_at(traced: Trace) -> list[str]:
    """The commit that was HEAD while it trained: what ran, where it was clean."""
    if traced.run is None:
        return []
    if traced.run.data.tags.get(tags.REBUILT):
        return ["unknown: the run was rebuilt from the files afterwards"]
    sha = traced.fact("mlflow.source.git.commit")
    if sha is None:
        return ["no commit: not in git"]
    if traced.fact("ferops.git.dirty") != "true":
        return [sha]
    return [sha, f"with uncommitted changes: {traced.fact('ferops.git.diff') or describe.DIFF}"]


def _environment(traced: Trace, root: Path) -> list[str]:
    """What it ran with, and whether that is what would run now."""
    lines = []
    if locked := traced.fact("ferops.requirements"):
        here = "the same here" if requirements_hash(root) == locked else "another here"
        lines.append(f"requirements.lock {locked[:_SHORT]}, {here}")
    software = [f"Keras {traced.fact('ferops.keras')}" if traced.fact("ferops.keras") else None]
    software.append(traced.fact("ferops.backend"))
    lines.append(", ".join(filter(None, software)))
    lines.append(traced.fact("ferops.hardware") or "")
    return [line for line in lines if line]


def _metrics(traced: Trace) -> list[str]:
    lines = []
    for split, name in (("val", "validation"), ("test", "test")):
        found = {key: traced.version.tags.get(f"{split}/{key}") for key in describe.HEADLINE}
        if figures := ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items() if value):
            lines.append(f"{name:<11}{figures}")
    return lines


def _history(events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        yield _happened(event)
        yield from _decided(event.get("decision") or {})


def _happened(event: Event) -> str:
    """When, what, and which alias moved."""
    words = [_when(float(event["time"])), str(event["event"])]
    if event.get("alias"):
        words.append(f"@{event['alias']}")
    if event.get("previous") is not None:
        words.append(f"in place of version {event['previous']}")
    if event.get("experiment"):
        words.append(f"by experiment {event['experiment']}")
    return " ".join(words)


def _decided(decision: Mapping[str, Any]) -> list[str]:
    """What the gate said: its comparison, and why not."""
    lines = [f"  {reason}" for reason in decision.get("reasons") or []]
    if decision.get("difference") is None:
        return lines
    low, high = decision["interval"]
    return [
        f"  accuracy {decision['difference']:+.4f} to the champion's, 95% interval {low:+.4f} to {high:+.4f}",
        *lines,
    ]


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _chain(lock: Mapping[str, Any]) -> Iterator[str]:
    stages = origins.chain(lock)
    if not stages:
        yield from _entry("chain", ["lost: neither MLflow nor git has its dvc.lock"])
        return
    yield "chain        of dvc.lock: what each stage read (<) and wrote (>), with its md5"
    for stage in stages:
        yield f"  {stage.name}: {stage.cmd}"
        values = ", ".join(f"{key} {value}" for key, value in stage.params.items())
        yield from textwrap.wrap(values, _WIDTH, initial_indent="    ", subsequent_indent="    ")
        for sign, files in (("<", stage.deps), (">", stage.outs)):
            yield from (f"    {sign} {name:<60} {md5[:_SHORT]}" for name, md5 in _grouped(files))
    for line in origins.mismatches(stages):
        yield f"  not one chain: {line}"


def _grouped(files: Iterable[File]) -> Iterator[File]:
    """Source modules as one line, under the md5 of the list of their md5s."""
    modules = [file for file in files if file.path.startswith("src/")]
    yield from (file for file in files if file not in modules)
    if modules:
        yield File(f"{len(modules)} module{'s' if len(modules) > 1 else ''} of src", together(modules))


def together(files: Iterable[File]) -> str:
    """One md5 for several files: of their paths and md5s."""
    text = "".join(f"{file.path} {file.md5}\n" for file in sorted(files))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _as_json(traced: Trace, root: Path) -> dict[str, Any]:
    run, source = traced.run, traced.source
    return {
        "schema": SCHEMA,
        "model": MODEL,
        "version": traced.number,
        "aliases": list(traced.aliases),
        "weights_digest": traced.version.tags.get(tags.WEIGHTS_DIGEST),
        "training": traced.version.tags.get(tags.TRAINING),
        "run": {"id": run.info.run_id, "name": run.info.run_name} if run else None,
        "source": {
            "commit": source.commit,
            "experiment": source.experiment,
            "is_whole": source.is_whole,
            "refs": list(origins.commit_info(source.commit, root).refs) if source.commit else [],
        }
        if source
        else None,
        "trained_at": {
            "commit": traced.fact("mlflow.source.git.commit"),
            "uncommitted": traced.fact("ferops.git.dirty") == "true",
        }
        if run and not run.data.tags.get(tags.REBUILT)
        else None,
        "requirements": traced.fact("ferops.requirements"),
        "keras": traced.fact("ferops.keras"),
        "backend": traced.fact("ferops.backend"),
        "hardware": traced.fact("ferops.hardware"),
        "dataset": {"name": traced.fact("ferops.dataset"), "md5": traced.fact("ferops.data_md5")},
        "metrics": {
            key: float(value) for key, value in traced.version.tags.items() if key.startswith(("val/", "test/"))
        },
        "stages": [
            {
                "name": stage.name,
                "cmd": stage.cmd,
                "params": stage.params,
                "deps": {file.path: file.md5 for file in stage.deps},
                "outs": {file.path: file.md5 for file in stage.outs},
            }
            for stage in origins.chain(traced.dvc_lock)
        ],
        "events": list(traced.events),
    }
