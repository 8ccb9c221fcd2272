"""Labels in doubt, and overrides."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ferops.data.preprocessing import label_errors
from ferops.data.preprocessing.label_errors import BadOverrides
from ferops.labels import NAMES


def answers(*rows: tuple[int, float, int]) -> np.ndarray:
    """Probabilities: for each row a class, its probability, and the class that has the rest."""
    found = np.zeros((len(rows), 7), np.float32)
    for row, (first, probability, second) in enumerate(rows):
        found[row, first], found[row, second] = probability, 1 - probability
    return found


def test_an_image_is_suspect_where_another_class_reaches_the_mean_of_its_own_images() -> None:
    labels = np.array([0, 0, 0, 3, 3, 3])
    # the mean of class 3 among its images is 0.6, that of class 0 among its own 0.5
    said = answers((0, 0.9, 3), (3, 0.65, 0), (0, 0.25, 6), (3, 0.9, 0), (3, 0.8, 0), (6, 0.9, 3))
    suggested = label_errors.suggest(labels, said)
    assert suggested.tolist() == [0, 3, 0, 3, 3, 3], "class 6 has no image to set its mean: nobody is suspected of it"
    assert label_errors.suggest(labels[:0], said[:0]).tolist() == []


def test_suspects_are_listed_the_most_doubtful_first() -> None:
    manifest = pd.DataFrame({"id": [7, 8, 9, 10], "hash": list("ghij"), "label": [0, 0, 3, 3]})
    found = label_errors.suspects(manifest, answers((0, 0.8, 3), (3, 0.6, 0), (0, 0.95, 3), (3, 0.9, 0)))
    assert found.to_dict("list") == {
        "id": [9, 8], "hash": ["i", "h"], "label": ["happy", "angry"], "probability": [0.05, 0.4],
        "suggested": ["angry", "happy"],
    }  # fmt: skip


def test_most_flipped_labels_are_suspects_and_get_their_label_back() -> None:
    rng = np.random.default_rng(0)
    true = rng.choice(7, 2000, p=np.bincount(np.arange(7), weights=[4, 1, 4, 7, 5, 3, 4]) / 28)
    flipped = rng.random(2000) < 0.3
    given = np.where(flipped, (true + rng.integers(1, 7, 2000)) % 7, true)
    logits = rng.normal(0, 1, (2000, 7)) + 3.0 * np.eye(7)[true]
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    suspect = label_errors.suggest(given, said) != given
    assert (suspect & flipped).sum() / suspect.sum() > 0.8
    assert (suspect & flipped).sum() / flipped.sum() > 0.7
    assert (label_errors.suggest(given, said) == true)[suspect & flipped].mean() > 0.9


def written(folder: Path, text: str) -> Path:
    (folder / "overrides.csv").write_text(text)
    return folder / "overrides.csv"


HASHES = np.array([digit * 16 for digit in "abacd"])


def test_overrides_change_training_images_alone_and_are_counted(tmp_path: Path) -> None:
    lines = [
        f"{7},{digit * 16},{label}"
        for digit, label in zip("abcdf", ("happy", "drop", "sad", "drop", "sad"), strict=True)
    ]
    found = label_errors.read_overrides(written(tmp_path, "\n".join(["id,hash,label", *lines])))
    labels = np.array([0, 0, 3, 0, 0])
    changed, dropped, counts = label_errors.override(labels, HASHES, found, np.array([True, True, True, False, False]))
    assert changed.tolist() == [NAMES.index("happy"), 0, 3, 0, 0]
    assert dropped.tolist() == [False, True, False, False, False]
    assert counts == {"relabelled": 1, "dropped": 1, "refused": 2, "unknown": 1}
    assert labels.tolist() == [0, 0, 3, 0, 0]


def test_no_override_changes_nothing(tmp_path: Path) -> None:
    found = label_errors.read_overrides(written(tmp_path, "hash,label\n"))
    changed, dropped, counts = label_errors.override(np.array([5, 6]), HASHES[:2], found, np.array([True, True]))
    assert (changed.tolist(), dropped.any(), set(counts.values())) == ([5, 6], False, {0})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,label\n1,happy\n", r"has the columns 'id,label'; expected hash,label"),
        ("hash,label\n{0},happy\n\n1.23E+15,sad\n", r"line 4: hash '1.23e\+15'; expected 16 hexadecimal digits"),
        ("hash,label\n{0},happy\n{0},sad\n", r"line 3: hash a+ is sad; expected its label of a line above"),
        ("hash,label\n{0},glad\n", r"line 2: label 'glad'; expected angry, .* or drop"),
        ("hash,label\n7,{0},happy,0.1,sad\n", r"line 2: fields 5; expected 2, as in the header"),
        ("", r"has the columns ''; expected hash,label"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadOverrides, match=rf"data.overrides: .*overrides.csv.*{says}") as error:
        label_errors.read_overrides(written(tmp_path, text.format("a" * 16)))
    assert "\n" not in str(error.value)


def test_overrides_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    text = "\ufeffid;Hash;label\r\n7;ABCDEF0123456789;Happy\r\n\r\n7;abcdef0123456789;happy \r\n"
    assert label_errors.read_overrides(written(tmp_path, text)) == {"abcdef0123456789": NAMES.index("happy")}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadOverrides, match="nowhere.csv"):
        label_errors.read_overrides(tmp_path / "nowhere.csv")
