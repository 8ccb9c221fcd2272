"""`ferops card`: show the model card of a registered version, or of the network that is shipped."""

from rich.console import Console
from rich.markdown import Markdown

from ferops.predict.networks import SHIPPED
from ferops.tracking import store
from ferops.tracking.pages import report
from ferops.tracking.registry import versions
from ferops.tracking.registry.versions import MissingArtifact


def card(reference: str | None, console: Console) -> None:
    """Show a model card: laid out on a terminal, its Markdown as it is into a file or a pipe.

    Args:
        reference: `fer-vgg16@ALIAS`, `fer-vgg16/NUMBER` or `fer-vgg16/DIGEST`; by default the shipped network, as for
            `ferops predict`.
        console: where it is shown.

    Raises:
        NoStore: there is no registry here.
        UnknownVersion: there is no such version or alias.
        MissingArtifact: the version has no card.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    text = _registered(reference) if reference else SHIPPED.with_suffix(".md").read_text(encoding="utf-8")
    if console.is_terminal:
        console.print(Markdown(report.text(text)))
    else:
        console.file.write(text)


def _registered(reference: str) -> str:
    with store.session(create=False) as opened:
        version = versions.resolve(opened, reference)
        if found := versions.read(version, versions.MODEL_CARD):
            return found
    name = f"{version.name}/{version.version}"
    raise MissingArtifact(
        f"{name} has no model card in MLflow; `dvc repro` on its commit adds it, `ferops trace {name}` names the commit"
    )
