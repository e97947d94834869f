"""Where the windows of a convolution stand, seen from x and seen from dy."""

from dataclasses import dataclass

from minires.types import Array, Sides, Size


@dataclass(frozen=True)
class Geometry:
    """kernel: (KH, KW).   stride: (rows, columns).   padding: ((top, bottom), (left, right)).

    image, output: (H, W) and (OH, OW).   algorithm: "im2col" or "winograd".   tf32: round factors to TF32.
    """

    kernel: Size
    stride: Size
    padding: Sides
    image: Size
    output: Size
    algorithm: str
    tf32: bool = False

    @property
    def turns(self) -> bool:
        """Whether dx is itself a convolution of dy: at stride 1, and no padding as wide as the kernel."""
        narrow = all(side < k for k, sides in zip(self.kernel, self.padding, strict=True) for side in sides)
        return self.stride == (1, 1) and narrow

    @property
    def turned(self) -> "Geometry":
        """The geometry of that convolution, from dy to dx."""
        (KH, KW), ((top, bottom), (left, right)) = self.kernel, self.padding
        padding = (KH - 1 - top, KH - 1 - bottom), (KW - 1 - left, KW - 1 - right)
        return Geometry(self.kernel, self.stride, padding, self.output, self.image, self.algorithm, self.tf32)


def turned(weight: Array) -> Array:
    """The kernel of that convolution, (C, O, KH, KW): turned by 180 degrees, input and output channels swapped."""
    return weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
