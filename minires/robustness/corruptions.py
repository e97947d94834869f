"""Images made worse, in eight ways and five strengths, as cameras, weather and files do it.

corrupt(images, "gaussian_noise", 3, seed=0)            uint8 (N, H, W, 3), RGB -> a new array of that kind

What happens to an image depends on the seed, the kind, its number and nothing else: not on the batch it comes in. The
random numbers are the same at every strength, so that a stronger noise is the same noise, only more of it. On the host.
The kinds are among those of Hendrycks and Dietterich 2019, the strengths are ours, for small images. Page:
docs/robustness.md.
"""

import io
import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minires.names import unknown

STRENGTHS = (1, 2, 3, 4, 5)
SIDE = 32  # the strengths that are lengths are for images of this side, and grow with it


class Corruption(NamedTuple):
    """change(image, amount, rng) -> image, uint8 (H, W, 3), with an amount for each of the five strengths.

    unit: of the amounts, as a picture's axis says it.
    """

    change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    amounts: tuple[float, ...]
    unit: str


def corrupt(images: np.ndarray, kind: str, strength: int, seed: int = 0, first: int = 0) -> np.ndarray:
    """images[n] corrupted, with random numbers of their own for each: those of the image number first + n.

    images: uint8 (N, H, W, 3), RGB.   kind: of CORRUPTIONS.   strength: 1 to 5; 0 gives a copy.
    Returns a new array. Raises ValueError for an unknown kind or strength, and for what are no such images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise ValueError(f"corrupt: images are {images.dtype} {images.shape}, expected uint8 (N, H, W, 3)")
    if kind not in CORRUPTIONS:
        raise ValueError(unknown("corruption", kind, CORRUPTIONS))
    if strength not in (0, *STRENGTHS):
        raise ValueError(f"corrupt: strength is {strength}, expected 1 to {len(STRENGTHS)}, or 0 for none")
    if strength == 0:
        return images.copy()
    change, amounts, _ = CORRUPTIONS[kind]
    number = zlib.crc32(kind.encode())  # of the kind, whichever others there are
    rngs = (np.random.default_rng([seed, number, first + n]) for n in range(len(images)))
    return np.stack([change(image, amounts[strength - 1], rng) for image, rng in zip(images, rngs, strict=True)])


# Noise --------------------------------------------------------------------------------------------------------------


def gaussian_noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """y = x + deviation * z,  z normal: what a sensor adds, in units of a byte."""
    return as_bytes(image + deviation * rng.standard_normal(image.shape))


def shot_noise(image: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """y = 255 / photons * Poisson(x / 255 * photons): light comes in grains, and white is so many of them."""
    return as_bytes(rng.poisson(image * (photons / 255)) * (255 / photons))


# What lies in between -----------------------------------------------------------------------------------------------


def gaussian_blur(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A lens out of focus: each pixel a mean of those around it. deviation: in pixels of an image of side 32."""
    from PIL import Image, ImageFilter

    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(deviation * side(image) / SIDE)))


def occlusion(image: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """A grey square in front, anywhere inside. length: of its side, in pixels of an image of side 32."""
    y, edge = image.copy(), round(length * side(image) / SIDE)
    top, left = (int(rng.random() * (room - edge + 1)) for room in image.shape[:2])
    y[top : top + edge, left : left + edge] = 128
    return y


# The camera ---------------------------------------------------------------------------------------------------------


def rotation(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turned about its middle, to the left or the right; what comes in at the corners is the image mirrored."""
    from PIL import Image

    (height, width), border = image.shape[:2], math.ceil((math.sqrt(2) - 1) / 2 * max(image.shape[:2])) + 1
    framed = np.pad(image, ((border, border), (border, border), (0, 0)), mode="symmetric")
    turned = Image.fromarray(framed).rotate(sign(rng) * degrees, Image.Resampling.BILINEAR)
    return np.array(turned)[border : border + height, border : border + width]


def brightness(image: np.ndarray, difference: float, rng: np.random.Generator) -> np.ndarray:
    """y = x + difference, or x - difference, in units of a byte."""
    return as_bytes(image + float(sign(rng) * difference))


def contrast(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """y = m + factor * (x - m),  m the mean of all the image's numbers: fog, or a flat print."""
    mean = image.mean()
    return as_bytes(mean + factor * (image - mean))


def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Written as a JPEG file of this quality, of 100, and read again."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.array(Image.open(file))


# What they share ----------------------------------------------------------------------------------------------------


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Rounded to the nearest byte; what is below 0 or above 255 is cut off."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def side(image: np.ndarray) -> int:
    """The shorter one, in pixels."""
    return min(image.shape[:2])


def sign(rng: np.random.Generator) -> int:
    """1 or -1, each half of the time."""
    return 1 - 2 * int(rng.integers(2))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, (5, 10, 15, 20, 25), "deviation, of 255"),
    "shot_noise": Corruption(shot_noise, (400, 200, 100, 50, 25), "photons of white"),
    "gaussian_blur": Corruption(gaussian_blur, (0.3, 0.6, 0.9, 1.2, 1.5), "deviation, pixels of 32"),
    "occlusion": Corruption(occlusion, (4, 8, 12, 16, 20), "side, pixels of 32"),
    "rotation": Corruption(rotation, (10, 20, 30, 40, 50), "degrees, either way"),
    "brightness": Corruption(brightness, (20, 40, 60, 80, 100), "difference, of 255, either way"),
    "contrast": Corruption(contrast, (0.8, 0.6, 0.4, 0.25, 0.15), "factor"),
    "jpeg": Corruption(jpeg, (80, 60, 40, 20, 10), "quality, of 100"),
}
