"""The promotion flow's report of a decision, in Markdown."""

from typing import Final

from ferops.orchestration import markdown
from ferops.promotion import gate
from ferops.promotion.gate import Verdict
from ferops.tracking import store
from ferops.tracking.store import Store

CONFUSION: Final = "figures/evaluate/confusion_normalised.png"
"""Path of the confusion matrix among a run's artifacts."""

_VAL: Final = "val/"


def page(opened: Store, verdict: Verdict, headline: str, confusion: bytes | None) -> str:
    """Return the decision with the rules and figures that it follows from.

    Args:
        opened: the store with both versions.
        verdict: the gate's.
        headline: the outcome, or what the run waits for.
        confusion: PNG of the challenger's confusion matrix, where MLflow has it.
    """
    parts = [headline, *(f"- {reason}" for reason in verdict.reasons)]
    if verdict.decision:
        parts += [
            f"### The rules: {verdict.challenger.model} on validation, n = {verdict.decision.n:,}",
            markdown.table(
                ["promotion in params.yaml", "needed", *_names(verdict), ""],
                [(*cells, "ok" if passed else "no") for *cells, passed in gate.rule_rows(verdict.decision)],
            ),
            f"Accuracy: {' '.join(gate.describe_comparison(verdict.decision))}.",
        ]
    parts += ["### Their figures", _figures(verdict), "Test decides nothing."]
    if confusion:
        parts.append(markdown.picture(confusion, "The challenger's confusion matrix, shares of the true class"))
    return "\n\n".join([*parts, "### Their runs", _links(opened, verdict)])


def _names(verdict: Verdict) -> list[str]:
    champion = f"champion, version {verdict.champion.version}" if verdict.champion else "no champion"
    return [champion, f"challenger, version {verdict.challenger.version}"]


def _figures(verdict: Verdict) -> str:
    """Compare the headline figures on validation; those on test are listed below."""
    old, new = verdict.champion.metrics if verdict.champion else {}, verdict.challenger.metrics
    keys = sorted(key for key in {*old, *new} if key.startswith(_VAL))
    rows = [[key.removeprefix(_VAL), *(gate.format_figure(one.get(key)) for one in (old, new))] for key in keys]
    test = ["test", *(gate.describe_test_figures(one) if one else "" for one in (verdict.champion, verdict.challenger))]
    return markdown.table(["", *_names(verdict)], [*rows, test])


def _links(opened: Store, verdict: Verdict) -> str:
    """Link to both runs in MLflow, with the command that starts its UI where no server has it."""
    found = [version for version in (verdict.champion, verdict.challenger) if version]
    links = [f"- [version {version.version}]({store.page(opened, version.run_id)})" for version in found]
    is_served = opened.address.startswith("http")
    return "\n".join([*links, *([] if is_served else ["", f"`{store.how_to_see(opened.address)}` shows them."])])
