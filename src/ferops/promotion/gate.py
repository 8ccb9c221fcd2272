"""The promotion gate: decide whether a version becomes champion, move the alias under a lock, describe the decision.

Shared by `ferops promote` and the promotion flow.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ferops.errors import FeropsError
from ferops.params import Params
from ferops.promotion import rules
from ferops.promotion.rules import Decision
from ferops.tracking import mutex
from ferops.tracking.registry import ledger, versions
from ferops.tracking.registry.ledger import REGISTRY, Event
from ferops.tracking.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, ScoredVersion
from ferops.tracking.store import Store, registered_model

_WAIT: Final = 10.0  # seconds: of two promotions at once, the later one finds the result of the earlier


class Overtaken(FeropsError):
    """Another promotion was faster, or is under way."""


class NothingToRollBack(FeropsError):
    """There is no champion, or no previous one."""


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
    reference = verdict.challenger.reference
    if verdict.outcome == "promoted":
        promote(store, reference, instead_of=verdict.replaces, decision=verdict.recorded, path=path)
    elif verdict.outcome == "refused":
        version = versions.resolve(store, reference)
        ledger.record(store, version, ledger.new_event("refused", version, alias=None, decision=verdict.recorded), path)


def promote(
    store: Store, reference: str, *, instead_of: int | None, decision: Mapping[str, Any], path: Path | None = REGISTRY
) -> None:
    """Make a version the champion of its registered model; the one before becomes `previous`.

    Args:
        store: the open store.
        reference: the version to promote, as in `fer-vgg16/3`.
        instead_of: number of the champion at the time of the decision; None where there was none.
        decision: the gate's decision, for the event.
        path: of registry.jsonl; None writes the event into the version's tag alone.

    Raises:
        Overtaken: the champion has changed in the meantime, or another process is promoting.
        UnknownVersion: the version does not exist.
    """
    version = versions.resolve(store, reference)
    event = ledger.new_event("promoted", version, alias=CHAMPION, previous=instead_of, decision=decision)
    with _lock(store, event, path):
        now = versions.aliases(store, version.name).get(CHAMPION)
        if now != instead_of:
            before, after = (f"version {number}" if number else "none" for number in (instead_of, now))
            raise Overtaken(
                f"version {version.version} was compared with {before}, and by now the champion is {after}: "
                "run `ferops promote` again"
            )
        _set_champion(store, event, path)


def rollback(store: Store, model: str, path: Path = REGISTRY) -> tuple[int, int]:
    """Swap `champion` and `previous` of a registered model; return the numbers of the new and of the old champion.

    Raises:
        NothingToRollBack: one of the two is missing, or both are the same version.
        Overtaken: another process is promoting.
    """
    before = versions.aliases(store, model)
    champion, previous = before.get(CHAMPION), before.get(PREVIOUS)
    if champion is None:
        raise NothingToRollBack(f"{model} has no champion; `ferops promote` sets one")
    if previous is None or previous == champion:
        raise NothingToRollBack(f"version {champion} is the only champion that {model} has had")
    back = versions.resolve(store, f"{model}/{previous}")
    event = ledger.new_event("rolled back", back, alias=CHAMPION, previous=champion)
    with _lock(store, event, path):
        now = versions.aliases(store, model)
        if (now.get(CHAMPION), now.get(PREVIOUS)) != (champion, previous):
            raise Overtaken("the aliases have changed meanwhile: check them, and run `ferops rollback` again if needed")
        _set_champion(store, event, path)
    return previous, champion


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


@contextmanager
def _lock(store: Store, event: Event, path: Path | None) -> Iterator[None]:
    """Acquire the lock for changes of the champion; complete the changes of processes that were killed."""
    if path:
        ledger.lines(path)  # a damaged file is an error before any alias is set

    def recover(interrupted: Event | None) -> None:
        if interrupted and versions.aliases(store, interrupted["model"]).get(CHAMPION) == interrupted["version"]:
            _set_champion(store, interrupted, path)

    name = f"promotion-{event['model']}"
    try:
        with mutex.lock(store, name, "a promotion", wait=_WAIT, note=event, recover=recover):
            yield
    except mutex.Busy as busy:
        raise Overtaken(str(busy)) from None


def _set_champion(store: Store, event: Event, path: Path | None) -> None:
    """Set the aliases and write the event; the champion changes in one step and is never missing. Idempotent."""
    model, number = str(event["model"]), str(event["version"])
    store.client.set_registered_model_alias(model, CHAMPION, number)
    if event["previous"] is not None:
        store.client.set_registered_model_alias(model, PREVIOUS, str(event["previous"]))
    ledger.record(store, store.client.get_model_version(model, number), event, path)
