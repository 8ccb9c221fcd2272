"""Image folders: SPLIT/EXPRESSION/FILE, the layout of most copies of FER2013."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from ferops.data.readers.archives import Member
from ferops.data.readers.decoding import IMAGE_STARTS, Decoded
from ferops.data.readers.faces import FaceDataset, UnknownLayout, shown
from ferops.labels import EXPRESSIONS, MERGED, NAMES, SIDE, USAGES

_SPLIT_FOLDERS: Final = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "PublicTest"),
    **dict.fromkeys(("test", "testing"), MERGED),
    "privatetest": "PrivateTest",
}
Annotation = tuple[str, int]
"""What an image's path says of it: its Usage and the code of its expression."""


def annotation(member: Member) -> Annotation | None:
    """Return Usage and label of an image by its path, or None where it is no image of a class folder.

    A name that begins with `Training_`, `PublicTest_` or `PrivateTest_` tells the Usage, as in Kaggle's own images.

    Raises:
        UnknownLayout: no such expression, an image at another depth, or a name that contradicts its folder.
    """
    *folders, file = PurePosixPath(member.name).parts
    depths = [depth for depth, folder in enumerate(folders) if folder.lower() in _SPLIT_FOLDERS]
    split, below = (folders[depths[-1]], folders[depths[-1] + 1 :]) if depths else ("", folders)
    if not split or len(below) != 1:
        is_lost = split or any(folder.lower() in EXPRESSIONS for folder in below)
        if is_lost and member.stream.peek(8).startswith(IMAGE_STARTS):
            raise UnknownLayout(f"{member.where}: expected images as train/EXPRESSION/FILE and test/EXPRESSION/FILE")
        return None
    expression = below[0].lower()
    if expression not in EXPRESSIONS:
        raise UnknownLayout(f"{member.where}: unknown expression {shown(below[0])}; expected {', '.join(NAMES)}")
    usage, prefix = _SPLIT_FOLDERS[split.lower()], file.partition("_")[0]
    if usage == MERGED and prefix in ("PublicTest", "PrivateTest"):
        usage = prefix
    if prefix in USAGES and prefix != usage:
        raise UnknownLayout(f"{member.where}: its name says {prefix}, its folder {split}; expected the same of both")
    return usage, EXPRESSIONS[expression]


def faces(annotations: Sequence[Annotation], images: Sequence[Decoded]) -> FaceDataset:
    """Return the faces of image folders.

    Args:
        annotations: one for each image, from `annotation`.
        images: decoded, 48 x 48.

    Raises:
        UnknownLayout: some test images tell by a prefix which test they belong to, and some do not.
    """
    usages, labels = zip(*annotations, strict=True)
    if MERGED in usages and "PrivateTest" in usages:
        raise UnknownLayout("some test images begin with PublicTest_ or PrivateTest_, not all; expected all or none")
    if "PublicTest" in usages:  # of a folder `validation`: then `test` is PrivateTest
        usages = tuple("PrivateTest" if usage == MERGED else usage for usage in usages)
    told = "without PublicTest_/PrivateTest_" if MERGED in usages else "with PublicTest and PrivateTest told apart"
    return FaceDataset(
        images=np.stack([image.pixels for image in images]),
        labels=np.array(labels, np.int64),
        usages=np.array(usages, np.str_),
        layout=f"image folders {told}",
        resized=sum(image.size != (SIDE, SIDE) for image in images),
        recoloured=sum(not image.is_gray for image in images),
    )
