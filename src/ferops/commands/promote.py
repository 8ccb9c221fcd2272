"""`ferops promote` and `ferops rollback`: the alias `champion`, moved where the gate allows it, and back."""

from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from ferops import params, promotion
from ferops.promotion import Decision, DifferentImages
from ferops.tracking import registry, store
from ferops.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, REGISTRY, Held
from ferops.tracking.store import MODEL

_NEXT: Final = f"train another one, or name another version: ferops promote {MODEL}/NUMBER"


def promote(reference: str | None, console: Console, root: Path = Path()) -> bool:
    """Hold a version against the rules and the champion; make it champion, or say why not.

    Either way the decision becomes a tag on the version and a line of reports/registry.jsonl.

    Args:
        reference: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`; the challenger by default.
        console: where the table and the outcome are printed.
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
    ledger = root / REGISTRY
    with store.session() as opened:
        challenger = registry.held(opened, reference or f"{MODEL}@{CHALLENGER}")
        if CHAMPION in challenger.aliases:
            _say(console, f"{MODEL} version {challenger.version} is champion already: nothing is decided")
            return True
        has_champion = CHAMPION in registry.aliases(opened)
        champion = registry.held(opened, f"{MODEL}@{CHAMPION}") if has_champion else None
        against = champion.version if champion else None
        try:
            decision = promotion.decide(
                challenger.predictions,
                champion.predictions if champion else None,
                settings.promotion,
                bins=settings.evaluate.calibration_bins,
            )
        except DifferentImages as error:
            why = {"promoted": False, "against": against, "reasons": [str(error)]}
            registry.refuse(opened, challenger.version, why, ledger)
            _refused(console, challenger, champion, (str(error),))
            return False
        _show(console, decision, challenger, champion)
        recorded = {**decision.as_json(), "against": against}
        if not decision.promoted:
            registry.refuse(opened, challenger.version, recorded, ledger)
            _refused(console, challenger, champion, decision.reasons)
            return False
        registry.promote(opened, challenger.version, instead_of=against, decision=recorded, ledger=ledger)
        _promoted(console, challenger, champion)
        return True


def rollback(console: Console, root: Path = Path()) -> None:
    """Make the previous champion champion again.

    Raises:
        NothingToRollBack: there is no previous champion.
        Overtaken: a promotion is under way.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    with store.session() as opened:
        now, before = registry.rollback(opened, root / REGISTRY)
    _say(console, f"rolled back: {MODEL} version {now} is champion; it was version {before}, now `{PREVIOUS}`")


def _show(console: Console, decision: Decision, challenger: Held, champion: Held | None) -> None:
    table = Table(
        title=f"{MODEL}: validation, n = {decision.n:,}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
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
            f"          its low end is what `tolerance` bounds (McNemar's p = {against.p_value:.3g}, shown only)",
        )
    else:
        _say(console, "accuracy  there is no champion yet: the floors alone decide")
    _say(console, "test      decides nothing:")
    for name, one in (("champion", champion), (CHALLENGER, challenger)):
        if one is not None:
            _say(console, f"          {name:<10}  {_test(one)}")


def _test(one: Held) -> str:
    figures = {name.partition("/")[2]: value for name, value in one.metrics.items() if name.startswith("test/")}
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items()) or "closed"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _promoted(console: Console, challenger: Held, champion: Held | None) -> None:
    before = f"version {champion.version} is `{PREVIOUS}`" if champion else "the first"
    _say(
        console,
        f"promoted  {MODEL} version {challenger.version} is champion, {before}",
        f"next      commit {REGISTRY}" + ("; back with: ferops rollback" if champion else ""),
    )


def _refused(console: Console, challenger: Held, champion: Held | None, reasons: tuple[str, ...]) -> None:
    stays = f"version {champion.version} stays" if champion else "there still is none"
    _say(
        console,
        f"refused   {MODEL} version {challenger.version} does not become champion, {stays}:",
        *(f"          {reason}" for reason in reasons),
        f"next      {_NEXT}",
    )


def _say(console: Console, *lines: str) -> None:
    """Print lines as they are: a pipe gets them whole, and nothing in them is markup."""
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
