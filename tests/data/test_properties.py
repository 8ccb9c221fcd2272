"""What holds of the readers whatever the faces, the order and the bytes are."""

import random
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import copies
import numpy as np
import pytest
from copies import BROUGHT, LAYOUTS, PACKINGS, Brought, ordered, same
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.progress import track

from ferops.data.readers import layouts
from ferops.data.readers.classes import Classes
from ferops.data.readers.faces import FaceDataset
from ferops.errors import FeropsError
from ferops.labels import NAMES, USAGES

# the same examples in every run, and no folder of them left behind
settings.register_profile("seeded", derandomize=True, database=None, deadline=None)
settings.load_profile("seeded")
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
FACES = copies.made_up(14)


@st.composite
def some_faces(draw: st.DrawFn) -> FaceDataset:
    """A few faces of any pixels, labels and usages, duplicates among them."""
    count = draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "flat", "shapes"]))
    if kind == "shapes":
        images = copies.draw(generator, count)
    elif kind == "noise":
        images = generator.integers(0, 256, (count, 48, 48)).astype(np.uint8)
    else:
        images = np.full((count, 48, 48), generator.integers(0, 256), np.uint8)
    images[-1] = images[0]
    labels = np.array(draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)), np.int64)
    usages = draw(st.lists(st.sampled_from([*USAGES]), min_size=count, max_size=count))
    return FaceDataset(images, labels, np.array(usages))


def _read(packing: str, tree: copies.Tree) -> FaceDataset:
    with tempfile.TemporaryDirectory() as folder:
        PACKINGS[packing](Path(folder, "copy"), tree)
        return layouts.read(Path(folder, "copy"))


@FEW
@given(some_faces(), st.sampled_from([*LAYOUTS]), st.sampled_from([*PACKINGS]), st.randoms())
def test_the_order_of_rows_and_files_does_not_matter(faces, layout, packing, shuffler):
    if layout == "three folders" and "PublicTest" not in faces.usages:
        layout = "folders with prefixes"  # without a validation folder, test is both tests
    order = list(range(len(faces.labels)))
    shuffler.shuffle(order)
    shuffled = replace(faces, images=faces.images[order], labels=faces.labels[order], usages=faces.usages[order])
    tree = LAYOUTS[layout](shuffled)
    members = list(tree.items())
    shuffler.shuffle(members)
    assert same(_read(packing, dict(members)), ordered(faces))


@FEW
@given(some_faces(), st.sampled_from([*PACKINGS]))
def test_faces_without_a_split_differ_in_nothing_else(faces, packing):
    read = _read(packing, copies.train_and_test(faces))
    assert same(read, ordered(copies.unsplit(faces)))


@settings(max_examples=200)
@given(st.binary(max_size=3000))
def test_any_bytes_are_faces_or_a_named_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "copy")
        path.write_bytes(content)
        with pytest.raises(FeropsError) as error:
            layouts.read(path)
    assert "\n" not in str(error.value)


@settings(max_examples=100)
@example(",", 0)
@given(st.text(st.characters(codec="utf-8"), max_size=40), st.integers(0, 139))
def test_any_text_in_the_place_of_a_row_is_a_named_error_that_tells_the_row(text, at):
    rows = next(iter(copies.kaggle(FACES).values())).decode().split("\n")
    line = text.replace("\n", " ").replace("\r", " ")
    rows[at % 14 + 1] = line
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "copy.csv")
        path.write_bytes("\n".join(rows).encode())
        try:
            assert len(layouts.read(path).labels) == 13
            assert not line.strip(' ",')  # nothing but separators is an empty row
        except FeropsError as error:
            assert f"row {at % 14 + 2} " in str(error)


MUTATED = 10_000
SLOWEST = 10.0
"""Seconds after which an input counts as one that hangs."""

COPIES = {
    **{layout: Brought(tree) for layout, tree in LAYOUTS.items()},
    "merged": Brought(copies.merged_folders),
    "train.csv": Brought(copies.train_and_test),
    **{
        f"{form} images": Brought(
            lambda faces, form=form: {
                f"train/{name}/{name}.{form}": copies.encoded(image, form)
                for name, image in zip(NAMES, faces.images, strict=True)
            }
        )
        for form in ("jpeg", "avif")
    },
    **BROUGHT,
}
PACKINGS_AND_BARE = ("bare", "zip", "tar", "tar.gz", "tar.xz")


def _mutate(content: bytes, chance: random.Random) -> bytes:
    """A few of what happens to files: flipped bits, lost, doubled, foreign and emptied pieces, other numbers."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        at = chance.randrange(len(data) + 1)
        size = min(chance.choice([1, 1, 2, 4, 8, 64, 512, 4096]), len(data) - at)
        match chance.randrange(8):
            case 0 if size:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size]
            case 3:
                data[at : at + size] = chance.randbytes(size)
            case 4:
                del data[at:]
            case 5:
                data[at : at + size] = bytes(size)
            case 6:
                data[at : at + size] = b"\xff" * size
            case 7:
                foreign = [b"-1", b"256", b"9" * 20, b"nan", b"\r\n", b",", b'"', b"\xef\xbb\xbf", b"../", b"/"]
                data[at : at + chance.choice([0, 2])] = chance.choice(foreign)
    return bytes(data)


def _mutant(number: int, path: Path) -> tuple[str, Classes]:
    """Write a copy that something happened to, before it was packed or after; what it was, and how it is read."""
    chance = random.Random(number)
    copy = [*COPIES][number % len(COPIES)]
    packing = PACKINGS_AND_BARE[number // len(COPIES) % len(PACKINGS_AND_BARE)]
    before = number // len(COPIES) // len(PACKINGS_AND_BARE) % 2 == 0
    brought = COPIES[copy]
    tree = brought.tree(copies.made_up(7))
    if before:
        name = chance.choice([*tree])
        if chance.random() < 0.8:
            tree[name] = _mutate(tree[name], chance)
        else:
            new = _mutate(name.encode(), chance).decode("ascii", "replace").replace("\0", "?") or "x"
            tree[new] = tree.pop(name)
    if packing == "bare":
        copies.BARE[chance.choice([*copies.BARE])](path, chance.choice([*tree.values()]))
    else:
        PACKINGS[packing](path, tree)
    if not before:
        path.write_bytes(_mutate(path.read_bytes(), chance))
    what = f"{copy}, {packing}, mutated {'before' if before else 'after'} packing"
    return what, Classes.parse(brought.labels, brought.skip)


@pytest.mark.fuzz
def test_ten_thousand_mutated_inputs_end_as_faces_or_as_a_named_error(tmp_path, capfd):
    path = tmp_path / "copy"
    ends: Counter[str] = Counter()
    slowest = 0.0
    with capfd.disabled():
        for number in track(range(MUTATED), "mutated inputs"):
            what, classes = _mutant(number, path)
            started = time.monotonic()
            try:
                faces = layouts.read(path, classes)
                assert faces.images.shape == (len(faces.labels), 48, 48)
                assert set(faces.labels.tolist()) <= set(range(7))
                ends["read"] += 1
            except FeropsError as error:
                assert "\n" not in str(error), (number, what)
                assert len(str(error)) < 700 + len(str(path)), (number, what)
                ends[type(error).__name__] += 1
            except BaseException as error:
                raise AssertionError(f"input {number} ({what}): {type(error).__name__}: {error}") from error
            slowest = max(slowest, time.monotonic() - started)
            assert slowest < SLOWEST, (number, what)
        print(f"\n{MUTATED:,} mutated inputs, 0 crashes, slowest {slowest:.2f} s; how they ended: {dict(ends)}")
    assert set(ends) == {"read", "BadFile", "BadRow", "BadImage", "UnknownLayout"}


def test_the_mutations_reach_every_kind_of_copy_before_and_after_packing(tmp_path):
    kinds = len(COPIES) * len(PACKINGS_AND_BARE) * 2
    seen = {_mutant(number, tmp_path / "copy")[0] for number in range(kinds)}
    assert len(seen) == kinds < MUTATED / 10
