"""`ferops promote` and `ferops rollback`: move the alias `champion` where the gate allows it, and back."""

from pathlib import Path

from rich.console import Console

from ferops import params
from ferops.commands import layout
from ferops.commands.registry.restore import CannotRestore, republish
from ferops.promotion import gate
from ferops.promotion.gate import Verdict
from ferops.promotion.rules import Decision
from ferops.tracking import runs, store
from ferops.tracking.lineage import DvcLockHistory
from ferops.tracking.registry import ledger, versions
from ferops.tracking.registry.ledger import REGISTRY
from ferops.tracking.registry.versions import PREVIOUS, UnknownVersion
from ferops.tracking.store import Store, registered_model


def promote(reference: str | None, console: Console, root: Path = Path(), *, against: str | None = None) -> bool:
    """Check a version against the rules and the champion; make it champion, or print why not.

    A DVC experiment or a run is registered first, and nominated as the challenger. The decision becomes a tag of the
    version and a line of reports/registry.jsonl.

    Args:
        reference: a version, `fer-vgg16@ALIAS`, `fer-vgg16/NUMBER` or `fer-vgg16/DIGEST`; the name of a DVC experiment;
            or the name or id of a run. By default the challenger of the registered model that params.yaml trains.
        console: where the decision is shown.
        root: the repository's root.
        against: a version to compare it with instead of the champion of its registered model.

    Returns:
        Whether the version is champion now.

    Raises:
        BadParams: params.yaml is missing or wrong.
        UnknownVersion: there is no such version, alias, experiment or run.
        CannotRestore: the files of an experiment or run are lost.
        MissingArtifact, BadPredictions: predictions are missing, or are not what `evaluate` writes.
        Overtaken: another promotion won, or is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    settings = params.load(root / "params.yaml")
    with store.session() as opened:
        if reference and not versions.is_reference(reference):
            with console.status(f"registering {reference}"):
                reference = nominate(opened, reference, root)
        verdict = gate.check(opened, reference, settings, against)
        gate.carry_out(opened, verdict, root / REGISTRY)
    if verdict.decision:
        _print_decision(console, verdict, verdict.decision)
    else:
        console.out(verdict.sentence, highlight=False)
    return verdict.outcome != "refused"


def rollback(model: str | None, console: Console, root: Path = Path()) -> None:
    """Make the previous champion champion again.

    Args:
        model: the registered model; by default the one that params.yaml trains.
        console: where the result is shown.
        root: the repository's root.

    Raises:
        BadParams: this is not the repository's root.
        NothingToRollBack: there is no champion, or no previous one.
        Overtaken: a promotion is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    settings = params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store, and a ledger beside it
    model = model or registered_model(settings.model.name)
    with store.session() as opened:
        now, before = gate.rollback(opened, model, root / REGISTRY)
    line = f"rolled back: {model} version {now} is champion; it was version {before}, now `{PREVIOUS}`"
    console.out(line, highlight=False)


def nominate(opened: Store, name: str, root: Path) -> str:
    """Register the training of a DVC experiment or run, and set the alias `challenger`.

    Args:
        opened: the open store.
        name: of the experiment or run, or the run's id.
        root: the repository's root.

    Returns:
        The reference of its version.

    Raises:
        UnknownVersion: there is no such experiment or run.
        CannotRestore: its files are lost.
    """
    run = runs.find_by_name(opened, name)
    if run is None:
        raise UnknownVersion(
            f"{name}: no DVC experiment and no run in MLflow has this name or id, and a version is named as in "
            "fer-vgg16@challenger or fer-vgg16/3"
        )
    facts = versions.facts(run.data.tags)
    source = DvcLockHistory(root).source(str(facts.get("training")), facts.get("dvc_lock"))
    if source is None:
        raise CannotRestore(f"{name}: no commit, no DVC experiment and not the workspace holds its dvc.lock")
    experiment = source.experiment or next(iter(runs.experiments(run)), None)
    version, events = republish(source, root, experiment=experiment)
    ledger.append(root / REGISTRY, events)
    return f"{version.name}/{version.version}"


def _print_decision(console: Console, verdict: Verdict, decision: Decision) -> None:
    """Print the rules with both networks' figures, the outcome with its reasons, and what to do next."""
    challenger, opponent = verdict.challenger, verdict.champion
    other = opponent.reference if opponent else "none"
    other = other.replace(f"{challenger.model}/", "version ")  # another model's is named in full
    headings = ("needed", f"champion\n{other}", f"challenger\nversion {challenger.version}", "")
    title = f"{challenger.model}: validation, n = {decision.n:,}"
    table = layout.table(title, "promotion in\nparams.yaml", *headings)
    for *cells, passed in gate.rule_rows(decision):
        table.add_row(*cells, "[green]ok[/]" if passed else "[red]no[/]")
    console.print(table)
    both = {"champion": opponent, "challenger": challenger}
    on_test = [f"{role:<10}  {gate.describe_test_figures(one)}" for role, one in both.items() if one]
    next_step = f"train another, or name another version: ferops promote {challenger.model}/NUMBER"
    if decision.promoted:
        next_step = f"commit {REGISTRY}" + ("; the way back: ferops rollback" if verdict.replaces else "")
    entries = {
        "accuracy": gate.describe_comparison(decision),
        "test": ["decides nothing either:", *on_test],
        verdict.outcome: [verdict.sentence, *verdict.reasons],
        "next": [next_step],
    }
    console.out(layout.aligned(entries, 10), highlight=False)
