"""The reference that scored images are compared with: a network's training data, and its predictions on validation."""

from pathlib import Path

import pandas as pd

from ferops.data import prepared
from ferops.data.statistics import STATISTICS, measure
from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine.files import SCRATCH, replacing
from ferops.machine.worktrees import dvc, worktree
from ferops.tracking.lineage import PREPARED, DvcLockHistory
from ferops.tracking.record import TRAINING
from ferops.tracking.registry import versions
from ferops.tracking.store import Store


class NoReference(FeropsError):
    """The training data of a network cannot be found."""


def predicted(store: Store, reference: str) -> pd.Series:
    """Return the names of the classes that a network predicts on its validation images, which it was not trained on.

    Raises:
        UnknownVersion, MissingArtifact: there is no such version, or it has lost its predictions.
    """
    table = versions.scored_version(store, reference).predictions
    rows = table[table["split"] == "validation"]
    return rows[list(NAMES)].idxmax(axis=1)


def statistics(store: Store, reference: str) -> pd.DataFrame:
    """Return the pixel statistics of the training images of a network: a row an image, the columns of `STATISTICS`.

    They are those of data/prepared, median filtered as the network sees them, without the augmented copies. Where the
    clone has other data now, those of the network's commit come from DVC's cache, else from its remote. The statistics
    are cached in .scratch/ under the data's md5, so they are computed once.

    Args:
        store: the open store.
        reference: as `versions.resolve` takes it.

    Raises:
        UnknownVersion: there is no such version.
        NoReference: the data are neither in the clone nor in DVC's cache nor in a remote.
        RepositoryError: the network's commit cannot be checked out.
    """
    version = versions.resolve(store, reference)
    md5 = str(versions.facts(version.tags).get("data_md5"))
    cached = SCRATCH / "statistics" / f"{md5}.parquet"
    if cached.is_file() and list(table := pd.read_parquet(cached)) == list(STATISTICS):
        return table
    found = _measure(Path(), md5)
    if found is None:
        found = _from_dvc(reference, str(version.tags.get(TRAINING)), md5)
    with replacing(cached) as scratch:
        found.to_parquet(scratch, index=False)
    return found


def _from_dvc(reference: str, training: str, md5: str) -> pd.DataFrame:
    data = f"the training data of {reference} ({md5})"
    source = DvcLockHistory(Path()).source(training)
    if source is None:
        raise NoReference(f"{data} are not in {PREPARED}, and no commit holds its dvc.lock: check out or commit them")
    with worktree(source.commit) as folder:
        for command in ("checkout", "pull"):
            dvc(folder, command, PREPARED)
            if (table := _measure(folder, md5)) is not None:
                return table
    raise NoReference(f"{data} are neither in DVC's cache nor in a remote: `dvc pull` them, or promote another network")


def _measure(root: Path, md5: str) -> pd.DataFrame | None:
    """Compute the statistics of the training images of a clone; None where it has other data or none."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            (out,) = repo.find_outs_by_path(str(root / PREPARED))
            if not out.exists or out.get_hash().value != md5:
                return None
    except DvcException:  # a damaged dvc.lock, or a dvc.yaml without such an out
        return None
    return measure(prepared.load(root / PREPARED).split("train")[0])
