"""The seven expressions of FER2013, their codes, and its official counts."""

from typing import Final

NAMES: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Expression names; the position is the code in `fer2013.csv` and everywhere in ferops."""

SPLITS: Final = ("train", "validation", "test")
"""Split names. FER2013 calls them Training, PublicTest and PrivateTest."""

USAGES: Final = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
"""The CSV's `Usage` column -> split of Kaggle's own division."""

SIDE: Final = 48
"""Height and width of a FER2013 image, in pixels."""

OFFICIAL_COUNTS: Final = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "validation": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
"""Images per class (in code order) and split in Kaggle's original: 28,709 / 3,589 / 3,589."""
