"""`ferops promote` and `ferops rollback`: move the alias `champion` where the gate allows it, and back."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ferops import params
from ferops.promotion import gate
from ferops.promotion.gate import Verdict
from ferops.promotion.rules import Decision
from ferops.tracking import store
from ferops.tracking.registry import versions
from ferops.tracking.registry.ledger import REGISTRY
from ferops.tracking.registry.versions import PREVIOUS
from ferops.tracking.store import MODEL


def promote(reference: str | None, console: Console, root: Path = Path()) -> bool:
    """Check a version against the rules and the champion; make it champion, or print why not.

    Either way the decision becomes a tag of the version and a line of reports/registry.jsonl.

    Args:
        reference: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`; the challenger by default.
        console: where the decision is shown.
        root: the repository's root.

    Returns:
        Whether the version is champion now.

    Raises:
        BadParams: params.yaml is missing or wrong.
        UnknownVersion: there is no such version or alias.
        MissingArtifact, BadPredictions: predictions are missing, or are not what `evaluate` writes.
        Overtaken: another promotion won, or is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    settings = params.load(root / "params.yaml")
    with store.session() as opened:
        verdict = gate.check(opened, reference, settings)
        gate.carry_out(opened, verdict, root / REGISTRY)
    if verdict.decision:
        _print_decision(console, verdict, verdict.decision)
    _print_outcome(console, verdict)
    return verdict.outcome != "refused"


def rollback(console: Console, root: Path = Path()) -> None:
    """Make the previous champion champion again.

    Raises:
        BadParams: this is not the repository's root.
        NothingToRollBack: there is no champion, or no previous one.
        Overtaken: a promotion is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store, and a ledger beside it
    with store.session() as opened:
        now, before = versions.rollback(opened, root / REGISTRY)
    line = f"rolled back: {MODEL} version {now} is champion; it was version {before}, now `{PREVIOUS}`"
    console.out(line, highlight=False)


def _print_decision(console: Console, verdict: Verdict, decision: Decision) -> None:
    """Print the rules with both networks' figures, the difference in accuracy, and the figures on test."""
    challenger, champion = verdict.challenger, verdict.champion
    table = Table(title=f"{MODEL}: validation, n = {decision.n:,}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("promotion in\nparams.yaml")
    table.add_column("needed", justify="right")
    table.add_column(f"champion\n{f'version {champion.version}' if champion else 'none'}", justify="right")
    table.add_column(f"challenger\nversion {challenger.version}", justify="right")
    table.add_column("")
    for *cells, passed in gate.rule_rows(decision):
        table.add_row(*cells, "[green]ok[/]" if passed else "[red]no[/]")
    console.print(table)
    both = {"champion": champion, "challenger": challenger}
    accuracy = "\n          ".join(gate.describe_comparison(decision))
    on_test = [f"          {role:<10}  {gate.describe_test_figures(one)}" for role, one in both.items() if one]
    console.out(f"accuracy  {accuracy}", "test      decides nothing either:", *on_test, sep="\n", highlight=False)


def _print_outcome(console: Console, verdict: Verdict) -> None:
    """Print the outcome, the reasons for a refusal, and what to do next."""
    if verdict.outcome == "unchanged":
        console.out(verdict.sentence, highlight=False)
        return
    if verdict.outcome == "promoted":
        next_step = f"commit {REGISTRY}" + ("; the way back: ferops rollback" if verdict.champion else "")
    else:
        next_step = f"train another, or name another version: ferops promote {MODEL}/NUMBER"
    reasons = [f"          {reason}" for reason in verdict.reasons]
    lines = [f"{verdict.outcome:<10}{verdict.sentence}", *reasons, f"next      {next_step}"]
    console.out(*lines, sep="\n", highlight=False)
