import re
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ferops.data.preprocessing.filters import median
from ferops.data.readers import layouts
from ferops.data.readers.image_files import ImageFile
from ferops.data.statistics import STATISTICS, measure
from ferops.data.synthetic import portraits
from ferops.labels import NAMES, OFFICIAL_COUNTS
from ferops.orchestration.monitoring import drift, drift_report, scored_table

BOUND = 0.2
SHARES = np.array(OFFICIAL_COUNTS["train"]) / sum(OFFICIAL_COUNTS["train"])


@cache
def faces(seed: int, count: int) -> np.ndarray:
    """Synthetic faces: uint8 (count, 48, 48)."""
    labels = np.random.default_rng(seed).choice(7, count, p=SHARES)
    return np.stack([portraits.render_face(int(k), np.random.default_rng([seed, row])) for row, k in enumerate(labels)])


def seen(images: np.ndarray) -> pd.DataFrame:
    """Their pixel statistics, as the network sees them."""
    return measure(median(images, 3))


def blurred(images: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(image, (0, 0), 1.0) for image in images])


def equalised(images: np.ndarray) -> np.ndarray:
    return np.stack([cv2.equalizeHist(image) for image in images])


def darker(images: np.ndarray) -> np.ndarray:
    return np.clip(images.astype(int) - 30, 0, 255).astype(np.uint8)


def drifted(reference: pd.DataFrame, latest: pd.DataFrame) -> set[str]:
    return {name for name in reference if drift.shift(name, reference[name], latest[name], BOUND).has_drifted}


def random_labels(rng: np.random.Generator, count: int, shares: np.ndarray = SHARES) -> pd.Series:
    return pd.Series(rng.choice(NAMES, count, p=shares))


def table(images: np.ndarray, labels: pd.Series) -> pd.DataFrame:
    """A table as the flow scoring writes it, of a network that is certain of these classes."""
    one = [ImageFile(f"{number}.png", f"{number:064x}", 48, 48, image) for number, image in enumerate(images)]
    certain = np.eye(7, dtype=np.float32)[labels.map(NAMES.index)]
    return scored_table.make_part(one, certain, kernel=3, version=1, weights_digest="ours", run="run")


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return seen(faces(1, 400))


def test_the_index_is_the_sum_of_differences_times_log_ratios() -> None:
    p, q = np.array([30.5, 70.5]) / 101, np.array([50.5, 50.5]) / 101
    assert drift.psi([50, 50], [30, 70]) == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert drift.psi([10, 20, 30], [10, 20, 30]) == 0
    assert drift.psi([50, 50], [30, 70]) == pytest.approx(drift.psi([30, 70], [50, 50]))


def test_an_empty_bin_gives_a_number() -> None:
    assert 1 < drift.psi([50, 50], [100, 0]) < 10
    assert drift.psi([0, 100], [0, 50]) == pytest.approx(0, abs=0.02)


def test_the_limit_allows_for_chance_and_nears_the_bound_with_many_images() -> None:
    assert drift.limit(BOUND, 10, 1_000_000, 1_000_000) == pytest.approx(BOUND, abs=1e-4)
    few, more = (drift.limit(BOUND, 10, 1400, n) for n in (100, 1000))
    assert few > more > BOUND
    assert few > BOUND + 9 / 100  # what chance gives on average, alone


def test_chance_exceeds_the_limit_hardly_ever() -> None:
    rng = np.random.default_rng(0)
    known, new = rng.multinomial(1400, [0.1] * 10, 2000), rng.multinomial(100, [0.1] * 10, 2000)
    limit = drift.limit(BOUND, 10, 1400, 100)
    alarms = sum(drift.psi(p, q) > limit for p, q in zip(known, new, strict=True))
    assert alarms <= 10  # 2 are expected


def test_fresh_faces_of_the_same_kind_are_quiet(reference: pd.DataFrame) -> None:
    pool = seen(faces(2, 600))
    rng = np.random.default_rng(0)
    samples = (rng.choice(len(pool), 100, replace=False) for _ in range(50))
    assert sum(bool(drifted(reference, pool.iloc[rows])) for rows in samples) <= 1


def test_predictions_of_the_same_mix_are_quiet_and_of_another_are_not() -> None:
    rng = np.random.default_rng(0)
    other = SHARES.copy()
    other[[3, 4]] = other[[4, 3]] + [-0.13, 0.13]  # hardly anybody is happy, many are sad
    other /= other.sum()
    reference = random_labels(rng, 350)
    alarms = {"same": 0, "other": 0}
    for _ in range(50):
        alarms["same"] += drift.shift("label", reference, random_labels(rng, 100), BOUND).has_drifted
        alarms["other"] += drift.shift("label", reference, random_labels(rng, 100, other), BOUND).has_drifted
    assert alarms["same"] == 0
    assert alarms["other"] >= 45


@pytest.mark.parametrize(
    ("change", "names"),
    [(blurred, "sharpness"), (equalised, "unevenness"), (darker, "mean")],
    ids=lambda x: str(x)[:20],
)
def test_changed_faces_are_noticed(reference: pd.DataFrame, change, names: str) -> None:
    latest = seen(change(faces(2, 600)[:100]))
    assert names in drifted(reference, latest)


@pytest.mark.parametrize(("change", "names"), [(blurred, "sharpness"), (equalised, "unevenness")])
def test_changed_real_faces_are_noticed_and_fresh_ones_are_quiet(mini: Path, change, names: str) -> None:
    real = layouts.read(mini)
    reference = seen(real.images[real.usages == "Training"])
    fresh = real.images[real.usages == "PublicTest"]
    assert not drifted(reference, seen(fresh))
    assert names in drifted(reference, seen(change(fresh)))


def test_the_report_passes_what_is_alike_and_names_what_drifted(tmp_path: Path, reference: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    predicted, labels = random_labels(rng, 350), random_labels(rng, 150)
    blurring = {"drift of std", "drift of sharpness", "drift of unevenness"}
    for change, names in ((lambda images: images, set()), (blurred, blurring)):
        latest = table(change(faces(2, 600)[:150]), labels)
        shifts = drift.compare(reference, predicted, latest, BOUND)
        assert [shift.column for shift in shifts] == [*STATISTICS, "label"]
        checks = drift_report.check(latest, shifts, tmp_path / "docs")
        assert {check.name for check in checks if not check.passed} == names
        index = (tmp_path / "docs/index.html").read_text()
        assert ("3 of" if names else "all") in index
        for shift in shifts:
            cells = (f"drift of {shift.column}", "", f"a PSI of at most {shift.limit:.3f}", f"{shift.psi:.3f}")
            assert re.search(r"\s*".join(f"<td>{cell}</td>" for cell in cells), index)


def test_a_bad_table_fails_without_drift(tmp_path: Path, reference: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    predicted, latest = random_labels(rng, 350), table(faces(2, 600)[:150], random_labels(rng, 150))
    latest.loc[3, "digest"] = latest.loc[4, "digest"]
    latest.loc[5, "happy"] = 1.5
    latest.loc[6, "label"] = "bored"
    checks = drift_report.check(latest, drift.compare(reference, predicted, latest, BOUND), tmp_path / "docs")
    failed = {check.name for check in checks if not check.passed}
    assert failed == {"unique digest", "known labels", "probability of happy"}


def test_the_bins_hold_the_shares_of_the_images() -> None:
    reference = pd.Series(np.random.default_rng(0).normal(100, 10, 1000))
    shift = drift.shift("mean", reference, reference + 100, BOUND)
    assert shift.bins["reference"].tolist() == pytest.approx([0.1] * 10)
    assert shift.bins["latest"].tolist() == pytest.approx([0] * 9 + [1])
    assert shift.bins.index[0] == f"[-inf, {np.quantile(reference, 0.1):.1f})"
    assert shift.has_drifted


def test_a_statistic_of_few_values_has_fewer_bins() -> None:
    reference = pd.Series([0.0] * 50 + [1.0] * 50)
    shift = drift.shift("mean", reference, reference, BOUND)
    assert len(shift.bins) < 10
    assert not shift.has_drifted


def test_the_histograms_are_written(tmp_path: Path, reference: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    latest = table(faces(2, 600)[:150], random_labels(rng, 150))
    drift_report.histograms(
        tmp_path / "below/histograms.png", drift.compare(reference, random_labels(rng, 350), latest, BOUND)
    )
    assert cv2.imread(str(tmp_path / "below/histograms.png")).shape[1] == 1210
