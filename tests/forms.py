"""One picture in every form that the decoder reads: for training images, images to score, and photographs."""

import io

import numpy as np
from PIL import Image, ImageOps, features


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """An image file, in a format by Pillow's name."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def lying(picture: Image.Image, form: str, **options: object) -> bytes:
    """A picture on its side, whose EXIF orientation says how to turn it upright."""
    turned = picture.getexif()
    turned[0x0112] = 6
    return saved(picture.transpose(Image.Transpose.ROTATE_90), form, exif=turned, **options)


def forms(colour: Image.Image) -> dict[str, tuple[bytes, int]]:
    """Forms of a picture in RGB, and how far their gray levels may be from its own where it is shaded smoothly."""
    gray = colour.convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    letters = f"P2\n{gray.width} {gray.height}\n255\n{' '.join(map(str, gray.tobytes()))}".encode()
    palette = colour.quantize(256, dither=Image.Dither.NONE)
    return {
        "palette PNG": (saved(palette, "PNG"), 2),
        "palette GIF": (saved(palette, "GIF"), 2),
        "animated GIF": (saved(gray, "GIF", save_all=True, append_images=[ImageOps.invert(gray)]), 0),
        "gray JPEG": (saved(gray, "JPEG", quality=98), 3),
        "CMYK JPEG": (saved(colour.convert("CMYK"), "JPEG", quality=98), 3),
        "CMYK TIFF": (saved(colour.convert("CMYK"), "TIFF"), 1),
        "16-bit PNG": (saved(deep, "PNG"), 0),
        "16-bit TIFF": (saved(deep, "TIFF"), 0),
        "16-bit PGM": (saved(deep, "PPM"), 0),
        "PGM in letters": (letters, 0),
        "PNG with alpha": (saved(Image.merge("RGBA", [*colour.split(), ImageOps.invert(gray)]), "PNG"), 0),
        "WebP with alpha": (saved(Image.merge("RGBA", [*colour.split(), gray]), "WEBP", lossless=True, exact=True), 0),
        "gray PNG with alpha": (saved(Image.merge("LA", [gray, gray]), "PNG"), 0),
        "a JPEG that lies": (lying(colour, "JPEG", quality=98), 3),
        "a PNG that lies": (lying(colour, "PNG"), 0),
        "a WebP that lies": (lying(colour, "WEBP", lossless=True), 0),
        "a TIFF that lies": (lying(colour, "TIFF"), 0),
    } | ({"AVIF": (saved(colour, "AVIF", quality=95), 4)} if features.check("avif") else {})
