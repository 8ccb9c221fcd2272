"""CK+ and JAFFE with synthetic faces, laid out and named as those are passed on."""

import io
from functools import cache

import cv2
import numpy as np
from copies import Tree, png
from PIL import Image

from ferops.data.synthetic import portraits
from ferops.labels import EXPRESSIONS

CK_FOLDERS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
JAFFE_CODES = {"AN": 0, "DI": 1, "FE": 2, "HA": 3, "SA": 4, "SU": 5, "NE": 6}


def tiff(picture: np.ndarray, **options: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "TIFF", **options)
    return stream.getvalue()


def portrait(face: np.ndarray) -> np.ndarray:
    """A face, uint8 (48, 48), that fills the middle of a picture: uint8 (256, 256)."""
    large = cv2.resize(face, (160, 160), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, 56, 40, 48, 48, cv2.BORDER_REPLICATE)


@cache
def ckplus(each: int = 3) -> Tree:
    """`each` synthetic faces in each of the seven folders; those of contempt are drawn neutral."""
    generator = np.random.default_rng(1)
    return {
        f"CK+48/{folder}/S{subject:03}_00{number + 1}_{number + 10:08}.png": png(
            portraits.render_face(EXPRESSIONS.get(folder, 6), generator)
        )
        for subject, folder in enumerate(CK_FOLDERS, start=10)
        for number in range(each)
    }


@cache
def jaffe(each: int = 2) -> Tree:
    """`each` synthetic faces of each expression, and a neutral picture in which there is no face."""
    generator = np.random.default_rng(2)
    tree = {
        f"jaffe/KA.{word}{number + 1}.{10 * code + number}.tiff": tiff(portrait(portraits.render_face(code, generator)))
        for word, code in JAFFE_CODES.items()
        for number in range(each)
    }
    return tree | {"jaffe/KL.NE1.99.tiff": tiff(faceless()), "jaffe/README": b"drawn"}


def faceless() -> np.ndarray:
    """A picture that grows brighter from left to right: uint8 (256, 256)."""
    return np.tile(np.arange(256, dtype=np.uint8), (256, 1))
