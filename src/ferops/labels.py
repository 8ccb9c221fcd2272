"""The seven expressions of FER2013, their codes, and its official counts."""

from typing import Final

NAMES: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Expression names; the position is the code in `fer2013.csv` and everywhere in ferops."""

EXPRESSIONS: Final = {
    **{name: code for code, name in enumerate(NAMES)},
    "anger": 0,
    "disgusted": 1,
    "fearful": 2,
    "happiness": 3,
    "sadness": 4,
    "surprised": 5,
}
"""Name of an expression's folder in copies of FER2013 -> its code.

Numbers are not among them: 4, 5, 6 are sad, surprise, neutral in Kaggle's CSV, but neutral, sad, surprise where a tool
numbered the folders alphabetically.
"""

SPLITS: Final = ("train", "validation", "test")
"""Split names. FER2013 calls them Training, PublicTest and PrivateTest."""

USAGES: Final = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
"""Value of the CSV's `Usage` column -> split in Kaggle's division."""

MERGED: Final = "Test"
"""Usage of an image of PublicTest or PrivateTest in a copy that merges them."""

UNSPLIT: Final = ""
"""Usage of an image in a copy without a split (Kaggle's train.csv)."""

SIDE: Final = 48
"""Height and width of a FER2013 image, in pixels."""

OFFICIAL_COUNTS: Final = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "validation": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
"""Images per class (in code order) and split in Kaggle's original: 28,709 / 3,589 / 3,589."""

MERGED_COUNTS: Final = tuple(map(sum, zip(OFFICIAL_COUNTS["validation"], OFFICIAL_COUNTS["test"], strict=True)))
"""PublicTest and PrivateTest together: 7,178 images, in code order."""
