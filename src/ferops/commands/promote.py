"""`ferops promote` and `ferops rollback`: the alias `champion`, moved where the gate allows it, and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ferops import params, promotion
from ferops.promotion import Decision, DifferentImages
from ferops.tracking import registry, store
from ferops.tracking.ledger import REGISTRY
from ferops.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Held
from ferops.tracking.store import MODEL


def promote(reference: str | None, console: Console, root: Path = Path()) -> bool:
    """Hold a version against the rules and the champion; make it champion, or say why not.

    Either way the decision becomes a tag on the version and a line of reports/registry.jsonl.

    Args:
        reference: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`; the challenger by default.
        console: where the decision is shown.
        root: the repository's root.

    Returns:
        Whether the version is champion now.

    Raises:
        BadParams: params.yaml is missing or wrong.
        UnknownVersion: there is no such version or alias.
        MissingArtifact, BadPredictions: predictions are gone, or are not what `evaluate` writes.
        Overtaken: another promotion won, or is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    settings = params.load(root / "params.yaml")
    with store.session() as opened:
        challenger = registry.held(opened, reference or f"{MODEL}@{CHALLENGER}")
        if CHAMPION in challenger.aliases:
            _say(console, f"{MODEL} version {challenger.version} is champion already: there is nothing to decide")
            return True
        has_champion = CHAMPION in registry.aliases(opened)
        champion = registry.held(opened, f"{MODEL}@{CHAMPION}") if has_champion else None
        decision, recorded = _decide(challenger, champion, settings)
        if recorded["promoted"]:
            registry.promote(
                opened,
                challenger.version,
                instead_of=champion.version if champion else None,
                decision=recorded,
                path=root / REGISTRY,
            )
        else:
            registry.refuse(opened, challenger.version, recorded, root / REGISTRY)
    if decision:
        _show(console, decision, challenger, champion)
    _conclude(console, recorded["reasons"], challenger, champion)
    return bool(recorded["promoted"])


def rollback(console: Console, root: Path = Path()) -> None:
    """Make the champion before this one champion again.

    Raises:
        BadParams: this is not the repository's root.
        NothingToRollBack: there is no champion, or none before it.
        Overtaken: a promotion is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store, and a ledger beside it
    with store.session() as opened:
        now, before = registry.rollback(opened, root / REGISTRY)
    _say(console, f"rolled back: {MODEL} version {now} is champion; it was version {before}, now `{PREVIOUS}`")


def _decide(challenger: Held, champion: Held | None, settings: params.Params) -> tuple[Decision | None, dict[str, Any]]:
    """What the gate says, None where the two cannot be compared; and what is recorded of it."""
    against = {"against": champion.version if champion else None}
    try:
        decision = promotion.decide(
            challenger.predictions,
            champion.predictions if champion else None,
            settings.promotion,
            bins=settings.evaluate.calibration_bins,
        )
    except DifferentImages as different:
        return None, {"promoted": False, "reasons": [str(different)], **against}
    return decision, {**decision.as_json(), **against}


def _show(console: Console, decision: Decision, challenger: Held, champion: Held | None) -> None:
    table = Table(title=f"{MODEL}: validation, n = {decision.n:,}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("promotion in\nparams.yaml")
    table.add_column("needed", justify="right")
    table.add_column(f"champion\n{f'version {champion.version}' if champion else 'none'}", justify="right")
    table.add_column(f"challenger\nversion {challenger.version}", justify="right")
    table.add_column("")
    for rule in decision.rules:
        figures = (_figure(rule.champion), _figure(rule.challenger))
        table.add_row(rule.name, rule.needed, *figures, "[green]ok[/]" if rule.passed else "[red]no[/]")
    console.print(table)
    if against := decision.comparison:
        low, high = against.interval
        _say(
            console,
            f"accuracy  {against.difference:+.4f} against the champion, 95% interval {low:+.4f} to {high:+.4f}:",
            f"          tolerance bounds its low end; McNemar's p = {against.p_value:.2g} decides nothing",
        )
    else:
        _say(console, "accuracy  there is no champion to compare with: the floors alone decide")
    _say(console, "test      decides nothing either:")
    for role, one in (("champion", champion), ("challenger", challenger)):
        if one:
            _say(console, f"          {role:<10}  {_on_test(one)}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _on_test(one: Held) -> str:
    figures = {key.removeprefix("test/"): value for key, value in one.metrics.items() if key.startswith("test/")}
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items()) or "closed"


def _conclude(console: Console, reasons: Sequence[str], challenger: Held, champion: Held | None) -> None:
    """The outcome in a sentence; the reasons, where there are any against it; what to do next."""
    version = f"{MODEL} version {challenger.version}"
    if not reasons:
        _say(
            console,
            f"promoted  {version} is champion" + (f", version {champion.version} `{PREVIOUS}`" if champion else ""),
            f"next      commit {REGISTRY}" + ("; the way back: ferops rollback" if champion else ""),
        )
        return
    stays = f"version {champion.version} stays champion" if champion else "there still is no champion"
    _say(
        console,
        f"refused   {version}: {stays}",
        *(f"          {reason}" for reason in reasons),
        f"next      train another, or name another version: ferops promote {MODEL}/NUMBER",
    )


def _say(console: Console, *lines: str) -> None:
    """Print lines as they are: whole in a pipe, and nothing in them is markup."""
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
