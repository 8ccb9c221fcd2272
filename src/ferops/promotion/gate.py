"""What `ferops promote` and the promotion flow share: ask the gate, carry out what it says, and the words for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ferops.params import Params
from ferops.promotion import rules
from ferops.promotion.rules import Decision, DifferentImages
from ferops.tracking.registry import versions
from ferops.tracking.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ScoredVersion
from ferops.tracking.store import MODEL, Store

Outcome = Literal["promoted", "refused", "unchanged"]
"""`unchanged`: the version is champion already, and nothing was asked."""


class Verdict(NamedTuple):
    """What the gate says of a version.

    Fields:
        challenger, champion: the two that were held against each other; no champion, no comparison.
        decision: None where the two cannot be compared, and where nothing was asked.
        recorded: what is kept of it in the registry; empty where nothing was asked.
    """

    challenger: ScoredVersion
    champion: ScoredVersion | None
    decision: Decision | None
    recorded: Mapping[str, Any]

    @property
    def outcome(self) -> Outcome:
        """What comes of it once it is carried out."""
        if not self.recorded:
            return "unchanged"
        return "promoted" if self.recorded["promoted"] else "refused"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused, a sentence each."""
        return tuple(self.recorded.get("reasons", ()))

    @property
    def name(self) -> str:
        """Model and version."""
        return f"{MODEL} version {self.challenger.version}"

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if self.outcome == "unchanged":
            return f"{self.name} is champion already: there is nothing to decide"
        if self.outcome == "promoted":
            return f"{self.name} is champion" + (
                f", version {self.champion.version} `{PREVIOUS}`" if self.champion else ""
            )
        stays = f"version {self.champion.version} stays champion" if self.champion else "there still is no champion"
        return f"{self.name}: {stays}"


def ask(store: Store, reference: str | None, settings: Params) -> Verdict:
    """Hold a version against the rules and the champion; nothing is changed or recorded.

    Args:
        store: the open store.
        reference: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`; the challenger by default.
        settings: params.yaml.

    Raises:
        UnknownVersion: there is no such version or alias.
        MissingArtifact, BadPredictions: predictions are gone, or are not what `evaluate` writes.
    """
    challenger = versions.scored_version(store, reference or f"{MODEL}@{CHALLENGER}")
    if CHAMPION in challenger.aliases:
        return Verdict(challenger, challenger, None, {})
    has_champion = CHAMPION in versions.aliases(store)
    champion = versions.scored_version(store, f"{MODEL}@{CHAMPION}") if has_champion else None
    against = {"against": champion.version if champion else None}
    try:
        decision = rules.decide(
            challenger.predictions,
            champion.predictions if champion else None,
            settings.promotion,
            bins=settings.evaluate.calibration_bins,
        )
    except DifferentImages as different:
        return Verdict(challenger, champion, None, {"promoted": False, "reasons": [str(different)], **against})
    return Verdict(challenger, champion, decision, {**decision.as_json(), **against})


def carry_out(store: Store, verdict: Verdict, path: Path | None) -> None:
    """Move the alias or record the refusal.

    Args:
        store: the open store.
        verdict: what `ask` gave.
        path: of registry.jsonl; None keeps the event on the version alone, from where the next `publish` fetches it.

    Raises:
        Overtaken: the champion is another by now, or another process is promoting.
    """
    if verdict.outcome == "promoted":
        versions.promote(
            store,
            verdict.challenger.version,
            instead_of=verdict.champion.version if verdict.champion else None,
            decision=verdict.recorded,
            path=path,
        )
    elif verdict.outcome == "refused":
        versions.refuse(store, verdict.challenger.version, verdict.recorded, path)


def rows(decision: Decision) -> list[tuple[str, str, str, str, bool]]:
    """Each rule: its name, what is needed, the champion's figure, the challenger's, whether it is met."""
    return [
        (rule.name, rule.needed, _figure(rule.champion), _figure(rule.challenger), rule.passed)
        for rule in decision.rules
    ]


def comparison(decision: Decision) -> tuple[str, ...]:
    """The difference in accuracy with its interval, in one line or two."""
    if (against := decision.comparison) is None:
        return ("there is no champion to compare with: the floors alone decide",)
    low, high = against.interval
    return (
        f"{against.difference:+.4f} against the champion, 95% interval {low:+.4f} to {high:+.4f}:",
        f"tolerance bounds its low end; McNemar's p = {against.p_value:.2g} decides nothing",
    )


def on_test(one: ScoredVersion) -> str:
    """The figures on the test split, which no rule reads."""
    figures = {key.removeprefix("test/"): value for key, value in one.metrics.items() if key.startswith("test/")}
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items()) or "closed"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
