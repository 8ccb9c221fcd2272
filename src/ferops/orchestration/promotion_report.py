"""The promotion flow's report of a decision, in Markdown."""

from typing import Final

from ferops.orchestration import markdown
from ferops.promotion import gate
from ferops.promotion.gate import Verdict
from ferops.tracking import store
from ferops.tracking.store import Store

CONFUSION: Final = "figures/evaluate/confusion_normalised.png"
"""Path of the confusion matrix among a run's artifacts."""


def page(opened: Store, verdict: Verdict, headline: str, confusion: bytes | None) -> str:
    """Return the decision with the rules and figures that it follows from.

    Args:
        opened: the store with both versions.
        verdict: the gate's.
        headline: the outcome, or what the run waits for.
        confusion: PNG of the challenger's confusion matrix, where MLflow has it.
    """
    versions = [version for version in (verdict.champion, verdict.challenger) if version]
    title = "The challenger's confusion matrix, shares of the true class"
    return markdown.render(
        "promotion.md.jinja",
        headline=headline,
        verdict=verdict,
        gate=gate,
        metrics=sorted({key for version in versions for key in version.metrics if key.startswith("val/")}),
        picture=markdown.picture(confusion, title) if confusion else "",
        addresses={version.version: store.page(opened, version.run_id) for version in versions},
        command="" if opened.address.startswith("http") else store.how_to_see(opened.address),
    )
