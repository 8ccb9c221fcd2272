"""Score the new images of a folder, batch by batch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ferops.data import scored_table
from ferops.data.readers import image_files
from ferops.data.readers.image_files import UnreadableFile
from ferops.tracking.versions import Network


class Plan(NamedTuple):
    """The work of one scoring run.

    Fields:
        folder: of the images. output: of the table. run: its name.
        batches: the files to read, in order, without those that the same weights have scored.
        found: number of files in the folder. known: number of those that are left out.
    """

    folder: Path
    output: Path
    run: str
    batches: tuple[tuple[Path, ...], ...]
    found: int
    known: int


class ScoringResult(NamedTuple):
    """The result of a batch: number of images of each predicted class, and the files that could not be read."""

    predicted: Counter[str]
    bad: list[UnreadableFile]


def plan(folder: Path, output: Path, weights_digest: str, batch_size: int) -> Plan:
    """Find the new images by the digest of their files: a changed file is new, a renamed one is not.

    Args:
        folder: of the images.
        output: of the table.
        weights_digest: of the network that is to score them.
        batch_size: images a batch, at most.

    Raises:
        BadFile: the folder is not there, cannot be read or is empty.
        BadScoredTable: a part of the table cannot be read.
    """
    found = image_files.find(folder)
    scored_table.delete_stale_parts(output)
    scored = scored_table.scored_digests(output, weights_digest)
    digests = pd.Series(image_files.digests(found), found)  # None: unreadable, `read` reports why
    new = digests.index[digests.isna() | ~(digests.isin(scored) | digests.duplicated())]
    batches = tuple(tuple(new[at : at + batch_size]) for at in range(0, len(new), batch_size))
    return Plan(folder, output, scored_table.new_run(), batches, found=len(found), known=len(found) - len(new))


def score(batch: Sequence[Path], plan: Plan, network: Network) -> ScoringResult:
    """Read a batch, predict it with the network, and add a part to the table."""
    faces, bad = image_files.read(batch, plan.folder)
    if not faces:
        return ScoringResult(Counter(), bad)
    probabilities = np.asarray(network.predict(np.stack([face.pixels for face in faces])))
    part = scored_table.make_part(
        faces, probabilities, kernel=network.kernel, version=network.version,
        weights_digest=network.weights_digest, run=plan.run,
    )  # fmt: skip
    scored_table.add(plan.output, part)
    return ScoringResult(Counter(part["label"]), bad)
