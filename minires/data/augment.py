"""Random changes to a batch of images that leave its labels true, on either device.

The functions are pure: what happens to each image is an argument, and `Augment` draws those arguments. They are drawn
on the host and moved to the images' device, so a seed means the same images on a CPU and on a GPU.

The loader normalises first and augments afterwards, as He et al. and DeVries & Taylor do: what is padded or cut out is
then 0, the mean colour of the training set, and carries no signal. On bytes the same functions give black.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minires.backend import array_module, device_of, move_pixels, normalize_rows, to_device
from minires.types import Array

TRIES = 10  # to draw a rectangle that fits into the image


def normalize(images: Array, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray) -> Array:
    """y = (x / 255 - mean) / std, channel by channel.

    images: uint8, or floats from 0 to 255, (N, H, W, C).   mean, std: C floats, in units where a pixel is 0..1.
    Returns float32 (N, H, W, C). Raises ValueError where a std is not positive or there is not one per channel.
    """
    return normalizer(mean, std, images.shape[2:], device_of(images))(images)


def normalizer(
    mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray, row: tuple[int, int], device: str
) -> Callable[[Array], Array]:
    """images -> normalize(images, mean, std), for many batches of rows (W, C): what it needs is on the device once."""
    width, channels = row
    if len(mean) != channels or len(std) != channels:
        raise ValueError(f"normalize: {channels} channels, got {len(mean)} means and {len(std)} standard deviations")
    if min(std) <= 0:
        raise ValueError(f"normalize: std is {tuple(std)}, expected positive numbers: a constant channel has none")
    mean, std = np.array(mean, np.float64), np.array(std, np.float64)
    # y = x * scale + shift, the three channels repeated along a row so that the inner loop is a whole row
    scale = to_device(np.tile(1 / (255 * std), width).astype(np.float32), device)
    shift = to_device(np.tile(-mean / std, width).astype(np.float32), device)

    return lambda images: normalize_rows(images, scale, shift)


def pad_and_crop(images: Array, offsets: Array, padding: int = 4) -> Array:
    """Surround every image with zeros and cut its old size out of the result: a shift by up to `padding` pixels.

        y[n, i, j] = padded[n, i + offsets[n, 0], j + offsets[n, 1]]

    images: (N, H, W, C), any dtype.   offsets: integers (N, 2), row and column, from 0 to 2 * padding, which is not
    checked (on a GPU that would mean waiting for it); where both are `padding`, the image stays as it is.
    Returns a new array of the shape and dtype of images.
    """
    return _moved(images, offsets, None, padding)


def flip(images: Array, mask: Array) -> Array:
    """Mirror the images n where mask[n] is true, left to right.

    images: (N, H, W, C), any dtype.   mask: bool (N,).   Returns a new array of the shape and dtype of images.
    """
    return _moved(images, None, mask)


def _moved(images, offsets, mask, padding=0):
    """pad_and_crop, then flip, of which either may be None: together they are one kernel on a GPU."""
    if offsets is not None:
        _expect_one_for_each_image("pad_and_crop: offsets", offsets, (len(images), 2))
    if mask is not None:
        _expect_one_for_each_image("flip: mask", mask, (len(images),))
    return move_pixels(images, offsets, mask, padding)


def cutout(images: Array, centers: Array, size: int) -> Array:
    """Zero a square of `size` by `size` pixels in every image; what sticks out over a border is cut off.

        rows and columns  center - size // 2  ..  center - size // 2 + size - 1

    images: (N, H, W, C), any dtype.   centers: integers (N, 2), row and column, each inside the image.
    Returns a new array of the shape and dtype of images.

    Source: T. DeVries, G. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017:
    applied to normalised images, so that the square has the mean colour and the statistics barely move.
    """
    _expect_one_for_each_image("cutout: centers", centers, (len(images), 2))
    first = centers - size // 2  # (N, 2), the square's corner
    return _zeroed(images, first, first + size)


def erase(images: Array, boxes: Array) -> Array:
    """Zero a rectangle in every image: the rows top to bottom - 1 and the columns left to right - 1.

    images: (N, H, W, C), any dtype.   boxes: integers (N, 4), top, bottom, left and right of each image; where bottom
    is top nothing is zeroed.   Returns a new array of the shape and dtype of images.

    Source: Zhong et al. 2020, Random erasing data augmentation, with 0, the mean colour of normalised images, in the
    place of random colours, as torchvision has it.
    """
    _expect_one_for_each_image("erase: boxes", boxes, (len(images), 4))
    return _zeroed(images, boxes[:, ::2], boxes[:, 1::2])


def _zeroed(images, first, last):
    """Zero the rows and columns first[n] to last[n] - 1 of image n; both (N, 2)."""
    xp = array_module(images, first, last)
    n, height, width, channels = images.shape
    rows, columns = xp.arange(height), xp.repeat(xp.arange(width), channels)  # (H,), (W*C,)
    down = (rows >= first[:, :1]) & (rows < last[:, :1])  # (N, H)
    across = (columns >= first[:, 1:]) & (columns < last[:, 1:])  # (N, W*C)
    inside = down[:, :, None] & across[:, None, :]  # (N, H, W*C)
    y = images.reshape(n, height, width * channels).copy()
    y[inside] = 0
    return y.reshape(images.shape)


def _expect_one_for_each_image(name, array, shape):
    if array.shape != shape:
        raise ValueError(f"{name} of shape {array.shape}, expected {shape}: one for each image")


@dataclass(frozen=True)
class Augment:
    """The usual augmentation for CIFAR: shift by up to `padding` pixels, mirror half of the images, cut a square out.

    padding   pixels of padding before the crop; 0: no shift
    flip      mirror each image with probability 1/2
    cutout    side of the square that is zeroed; 0: none
    erasing   probability with which an image has a rectangle zeroed, as `draw_boxes` draws it; 0: none
    """

    padding: int = 4
    flip: bool = True
    cutout: int = 0
    erasing: float = 0.0

    def __post_init__(self):
        if not 0 <= self.erasing <= 1:
            raise ValueError(f"Augment: erasing is {self.erasing}, expected a probability from 0 (off) to 1")
        for name in ("padding", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"Augment: {name} is {getattr(self, name)}, expected 0 (off) or more pixels")

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """A new batch of changed images of the same shape, dtype and device. rng: a NumPy Generator, on the host."""
        drawn = self.draw(len(images), images.shape[1:3], rng)
        return self.apply(images, {name: to_device(array, device_of(images)) for name, array in drawn.items()})

    def draw(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What shall happen to n images of this size (H, W), on the host: offsets, mask, centers, boxes, each of n."""
        drawn = {}
        if self.padding:
            drawn["offsets"] = rng.integers(0, 2 * self.padding + 1, (n, 2))
        if self.flip:
            drawn["mask"] = np.less(rng.random(n), 0.5)
        if self.cutout:
            drawn["centers"] = rng.integers(0, size, (n, 2))
        if self.erasing:
            drawn["boxes"] = draw_boxes(n, self.erasing, size, rng)
        return drawn

    def apply(self, images: Array, drawn: Mapping[str, Array]) -> Array:
        """A new batch of images to which this has happened; what was drawn is on their device."""
        if not drawn:
            return images.copy()
        if "offsets" in drawn or "mask" in drawn:
            images = _moved(images, drawn.get("offsets"), drawn.get("mask"), self.padding)
        if "centers" in drawn:
            images = cutout(images, drawn["centers"], self.cutout)
        if "boxes" in drawn:
            images = erase(images, drawn["boxes"])
        return images


def draw_boxes(n: int, probability: float, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Boxes for `erase`, int64 (n, 4), of images of this size (H, W); four zeros for those that are to stay.

    area = H * W * a number from 0.02 to 0.33      aspect = exp(a number from log 0.3 to log 3.3)
    height = round(sqrt(area * aspect))            width = round(sqrt(area / aspect))

    drawn up to ten times, until both are smaller than the image's; the place is drawn evenly. The numbers are
    torchvision's, those of the paper but for 0.33, which is 0.4 there.
    """
    chosen = rng.random(n) < probability
    area = size[0] * size[1] * rng.uniform(0.02, 0.33, (n, TRIES))
    aspect = np.exp(rng.uniform(math.log(0.3), math.log(3.3), (n, TRIES)))
    sides = np.rint(np.sqrt([area * aspect, area / aspect])).astype(np.int64)  # (2, n, TRIES)
    fits = (sides[0] < size[0]) & (sides[1] < size[1])
    sides = sides[:, np.arange(n), fits.argmax(axis=1)].T  # (n, 2), of the first try that fits
    sides *= (chosen & fits.any(axis=1))[:, None]
    first = (rng.random((n, 2)) * (np.array(size) - sides + 1)).astype(np.int64)
    return np.stack([first[:, 0], first[:, 0] + sides[:, 0], first[:, 1], first[:, 1] + sides[:, 1]], axis=1)
