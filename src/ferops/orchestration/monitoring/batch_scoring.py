"""Score the new images of a folder, batch by batch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ferops.data.readers import image_files
from ferops.data.readers.image_files import UnreadableFile
from ferops.orchestration.monitoring import scored_table
from ferops.predict import networks


class Plan(NamedTuple):
    """The work of one scoring run.

    Fields:
        folder: of the images. output: of the table. run: its name.
        new: absolute paths of the files to read, in order: those that the same weights have not scored.
        found: number of files in the folder. known: number of those that are left out.
    """

    folder: Path
    output: Path
    run: str
    new: Sequence[Path]
    found: int
    known: int


@dataclass(frozen=True)  # a named tuple would come as a plain one to a Dask worker
class Scorer:
    """What the batches of one scoring run have in common; another process may score them, so the paths are absolute.

    Attributes:
        folder: of the images. output: of the table. run: its name.
        network: file of the network. threads: on which LiteRT runs it; None is one a core.
        version: of the registered model. weights_digest: of its network.
        kernel: side of its median filter in pixels.
    """

    folder: Path
    output: Path
    run: str
    network: Path
    threads: int | None
    version: int
    weights_digest: str
    kernel: int


class ScoringResult(NamedTuple):
    """The result of a batch: number of images of each predicted class, and the files that could not be read."""

    predicted: Counter[str]
    bad: list[UnreadableFile]


def plan(folder: Path, output: Path, weights_digest: str) -> Plan:
    """Find the new images by the digest of their files: a changed file is new, a renamed one is not.

    Args:
        folder: of the images.
        output: of the table.
        weights_digest: of the network that is to score them.

    Raises:
        BadFile: the folder is not there, cannot be read or is empty.
        BadScoredTable: a part of the table cannot be read.
    """
    found = image_files.find(folder)
    scored_table.delete_stale_parts(output)
    scored = scored_table.scored_digests(output, weights_digest)
    digests = pd.Series(image_files.digests(found))  # None: unreadable, `read` reports why
    is_new = digests.isna() | ~(digests.isin(scored) | digests.duplicated())
    new = [found[at].absolute() for at in np.flatnonzero(is_new)]
    return Plan(folder, output, scored_table.new_run(), new, found=len(found), known=len(found) - len(new))


def score(batch: Sequence[Path], number: int, scorer: Scorer) -> ScoringResult:
    """Read a batch, predict it with the network, and add a part of this number to the table.

    Raises:
        BadNetwork: the network's file is damaged.
    """
    faces, bad = image_files.read(batch, scorer.folder)
    if not faces:
        return ScoringResult(Counter(), bad)
    probabilities = _load(scorer.network, scorer.threads).probabilities(np.stack([face.pixels for face in faces]))
    part = scored_table.make_part(
        faces, probabilities, kernel=scorer.kernel, version=scorer.version, weights_digest=scorer.weights_digest,
        run=scorer.run,
    )  # fmt: skip
    scored_table.add(scorer.output, part, number)
    return ScoringResult(Counter(part["label"]), bad)


_load = lru_cache(maxsize=1)(networks.load)  # once a process, for all of its batches
