"""The promotion gate: decide whether a version becomes champion, carry it out, and describe the decision.

Shared by `ferops promote` and the promotion flow.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ferops.params import Params
from ferops.promotion import champion, rules
from ferops.promotion.rules import Decision
from ferops.tracking import versions
from ferops.tracking.store import Store, registered_model
from ferops.tracking.versions import CHALLENGER, CHAMPION, PREVIOUS, ScoredVersion


class Verdict(NamedTuple):
    """The gate's decision on a version.

    Fields:
        challenger, champion: the two versions compared; champion is None where there is none yet.
        replaces: number of the champion of the challenger's registered model, None where there is none: that of
            `champion`, unless the comparison was asked for with another model's.
        decision: None where the version is champion already.
    """

    challenger: ScoredVersion
    champion: ScoredVersion | None
    replaces: int | None
    decision: Decision | None

    @property
    def outcome(self) -> Literal["promoted", "refused", "unchanged"]:
        """The result once the verdict is carried out; `unchanged` where the version is champion already."""
        if self.decision is None:
            return "unchanged"
        return "promoted" if self.decision.promoted else "refused"

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each reason to refuse it."""
        return self.decision.reasons if self.decision else ()

    @property
    def recorded(self) -> Mapping[str, Any]:
        """The decision for the registry, as plain JSON values; empty where nothing was decided."""
        if self.decision is None:
            return {}
        return {**self.decision.as_json(), "against": self.champion.reference if self.champion else None}

    @property
    def name(self) -> str:
        """Model and version."""
        return f"{self.challenger.model} version {self.challenger.version}"

    @property
    def sentence(self) -> str:
        """The outcome as a sentence."""
        if self.outcome == "unchanged":
            return f"{self.name} is champion already: there is nothing to decide"
        if self.outcome == "promoted":
            before = f", version {self.replaces} `{PREVIOUS}`" if self.replaces else ""
            return f"{self.name} is champion{before}"
        stays = f"version {self.replaces} stays champion" if self.replaces else "there still is no champion"
        return f"{self.name}: {stays}"


def check(store: Store, reference: str | None, settings: Params, against: str | None = None) -> Verdict:
    """Check a version against the rules and the champion of its registered model; nothing is changed or recorded.

    Args:
        store: the open store.
        reference: as `versions.resolve` takes it; by default the challenger of the registered model that params.yaml
            trains.
        settings: params.yaml.
        against: another version to compare it with, of any registered model.

    Raises:
        UnknownVersion: there is no such version or alias.
        MissingArtifact, BadPredictions: predictions are missing, or are not what `evaluate` writes.
    """
    challenger = versions.scored_version(store, reference or f"{registered_model(settings.model.name)}@{CHALLENGER}")
    replaces = versions.aliases(store, challenger.model).get(CHAMPION)
    if CHAMPION in challenger.aliases:
        return Verdict(challenger, challenger, replaces, None)
    against = against or (f"{challenger.model}@{CHAMPION}" if replaces else None)
    opponent = versions.scored_version(store, against) if against else None
    old, bins = opponent.predictions if opponent else None, settings.evaluate.calibration_bins
    decision = rules.decide(challenger.predictions, old, settings.promotion, bins=bins)
    return Verdict(challenger, opponent, replaces, decision)


def carry_out(store: Store, verdict: Verdict, path: Path | None) -> None:
    """Move the alias `champion`, or record the refusal.

    Args:
        store: the open store.
        verdict: of `check`.
        path: of registry.jsonl; None records the event on the version alone, from where the next `publish` copies it.

    Raises:
        Overtaken: the champion has changed since, or another process is promoting.
    """
    reference, decision = verdict.challenger.reference, verdict.recorded
    if verdict.outcome == "promoted":
        champion.promote(store, reference, instead_of=verdict.replaces, decision=decision, path=path)
    elif verdict.outcome == "refused":
        champion.refuse(store, reference, decision, path)


def rule_rows(decision: Decision) -> list[tuple[str, str, str, str, bool]]:
    """Return for each rule: name, bound, the champion's figure, the challenger's, and whether it is met."""
    return [
        (rule.name, rule.needed, format_figure(rule.champion), format_figure(rule.challenger), rule.passed)
        for rule in decision.rules
    ]


def describe_comparison(decision: Decision) -> tuple[str, ...]:
    """Return one or two lines with the difference in accuracy and its interval."""
    if decision.champion_accuracy is None:
        return ("there is no champion to compare with: `tolerance` is not checked",)
    if (against := decision.comparison) is None:
        return ("not compared with the champion: the validation images differ",)
    low, high = against.interval
    return (
        f"{against.difference:+.4f} against the champion, 95% interval {low:+.4f} to {high:+.4f}:",
        f"tolerance bounds its low end; McNemar's p = {against.p_value:.2g} decides nothing",
    )


def describe_test_figures(one: ScoredVersion) -> str:
    """Return the figures on the test split, which no rule reads; `closed` where it was not scored."""
    figures = {key.removeprefix("test/"): value for key, value in one.metrics.items() if key.startswith("test/")}
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items()) or "closed"


def format_figure(value: float | None) -> str:
    """Return a figure to four digits; nothing where there is none."""
    return "" if value is None else f"{value:.4f}"
