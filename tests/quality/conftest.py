"""Random manifests from a seed, good by default; each test spoils one thing."""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ferops import params
from ferops.labels import OFFICIAL_COUNTS, SPLITS
from ferops.quality import expectations, validation
from ferops.quality.expectations import CheckResult
from ferops.quality.reports import AugmentedReport, PreparedReport
from ferops.stages.validate import GATES, validate

ROOT = Path(__file__).parents[2]
SMALL = {split: tuple(round(count / 20) for count in counts) for split, counts in OFFICIAL_COUNTS.items()}
"""FER2013's class shares at a twentieth of its size."""

RAF_DB = {
    "train": (635, 645, 253, 4295, 1784, 1161, 2272),
    "validation": (70, 72, 28, 477, 198, 129, 252),
    "test": (162, 160, 74, 1185, 478, 329, 680),
}
"""RAF-DB's images per class, a tenth of its training images as validation: `data.split: folders`."""


def _manifest(counts: Mapping[str, Sequence[int]] = SMALL) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    split = np.repeat(SPLITS, [sum(counts[name]) for name in SPLITS])
    label = np.concatenate([np.repeat(np.arange(7), counts[name]) for name in SPLITS])
    n = len(label)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "split": pd.array(split, dtype="str"),
            "label": label,
            "mean": rng.normal(129, 25, n),
            "std": rng.normal(55, 8, n),
            "hash": pd.array([f"{value:016x}" for value in range(n)], dtype="str"),
            "duplicate_of": pd.array([pd.NA] * n, dtype="Int64"),
        }
    )


def _counts(manifest: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    table = pd.crosstab(manifest["split"], manifest["label"]).reindex(index=SPLITS, columns=range(7), fill_value=0)
    return {split: tuple(int(count) for count in table.loc[split]) for split in SPLITS}


def _report(manifest: pd.DataFrame, **changes: object) -> PreparedReport:
    counts = _counts(manifest)
    dropped = {"blank": 0, "duplicates": 0}
    content = {"dataset": "sample", "split": "official", "read": counts, "kept": counts, "dropped": dropped}
    return PreparedReport.model_validate(content | changes)


def _added(manifest: pd.DataFrame, share: float = 0.1) -> pd.DataFrame:
    """Copies of disgust's training images, cyclic, until it has the share."""
    train = manifest[manifest["split"] == "train"]
    rare = train[train["label"] == 1]
    n = max(0, round((share * len(train) - len(rare)) / (1 - share)))
    origins = rare.iloc[np.arange(n) % len(rare)]
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "origin": origins["id"].to_numpy(),
            "split": pd.array(["train"] * n, dtype="str"),
            "label": origins["label"].to_numpy(),
            "mean": origins["mean"].to_numpy(),
            "std": origins["std"].to_numpy(),
        }
    )


def _added_report(added: pd.DataFrame, manifest: pd.DataFrame, share: float = 0.1) -> AugmentedReport:
    before = np.array(_counts(manifest)["train"])
    after = before + np.bincount(added["label"], minlength=7)
    return AugmentedReport(min_share=share, before=tuple(before.tolist()), after=tuple(after.tolist()))


@pytest.fixture(scope="session")
def draw() -> SimpleNamespace:
    """Functions that make good data: manifest, report, added, added_report; and the class counts of RAF-DB."""
    return SimpleNamespace(manifest=_manifest, report=_report, added=_added, added_report=_added_report, raf_db=RAF_DB)


@pytest.fixture(scope="session")
def bounds() -> params.Validate:
    """`validate` of the repository's params.yaml."""
    return params.load(ROOT / "params.yaml").validate_


@pytest.fixture(scope="session")
def failures(bounds: params.Validate) -> Callable[..., dict[str, CheckResult]]:
    """Validates tables in memory: the prepared manifest alone, or the added images with the manifest they come from."""

    def judge(
        table: pd.DataFrame, report: PreparedReport | AugmentedReport, manifest: pd.DataFrame | None = None
    ) -> dict[str, CheckResult]:
        """The checks that failed, by name and split."""
        if isinstance(report, PreparedReport):
            suites = expectations.prepared(table, report, bounds)
        else:
            assert manifest is not None
            suites = expectations.augmented(table, manifest, report, bounds)
        failed = [check for check in validation.run("gate", suites) if not check.passed]
        return {f"{check.name}, {check.split}" if check.split else check.name: check for check in failed}

    return judge


@pytest.fixture(scope="session")
def good_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params.yaml and good data, prepared and augmented; to be copied."""
    folder = tmp_path_factory.mktemp("good")
    shutil.copy(ROOT / "params.yaml", folder)
    manifest = _manifest()
    added = _added(manifest)
    for name, table, report in (
        ("prepared", manifest, _report(manifest)),
        ("augmented", added, _added_report(added, manifest)),
    ):
        data = folder / "data" / name
        data.mkdir(parents=True)
        table.to_parquet(data / "manifest.parquet")
        (data / "report.json").write_text(report.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def validated_data(good_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after stage validate, both gates; to be copied."""
    folder = tmp_path_factory.mktemp("validated") / "repository"
    shutil.copytree(good_data, folder)
    with contextlib.chdir(folder):
        for gate in GATES:
            validate(gate)
    return folder


@pytest.fixture
def repository(good_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with params.yaml and good data."""
    shutil.copytree(good_data, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def validated(validated_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which the gates have passed."""
    shutil.copytree(validated_data, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
