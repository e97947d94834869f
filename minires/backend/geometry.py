"""Where the windows of a convolution stand, seen from x and seen from dy."""

from dataclasses import dataclass, replace

from minires.types import Array, Sides, Size


@dataclass(frozen=True)
class Geometry:
    """kernel: (KH, KW).   stride: (rows, columns).   padding: ((top, bottom), (left, right)).

    image, output: (H, W) and (OH, OW).   algorithm: "im2col" or "winograd".   tf32: round factors to TF32.
    dilation: (rows, columns) from one pixel of a window to the next.   groups: of channels, each convolved by itself.
    """

    kernel: Size
    stride: Size
    padding: Sides
    image: Size
    output: Size
    algorithm: str
    tf32: bool = False
    dilation: Size = (1, 1)
    groups: int = 1

    @property
    def turns(self) -> bool:
        """Whether dx is itself a convolution of dy: at stride 1, and no padding as wide as the kernel."""
        reach = extent(self.kernel, self.dilation)
        narrow = all(side < k for k, sides in zip(reach, self.padding, strict=True) for side in sides)
        return self.stride == (1, 1) and narrow

    @property
    def turned(self) -> "Geometry":
        """The geometry of that convolution, from dy to dx."""
        (EH, EW), ((top, bottom), (left, right)) = extent(self.kernel, self.dilation), self.padding
        padding = (EH - 1 - top, EH - 1 - bottom), (EW - 1 - left, EW - 1 - right)
        return replace(self, padding=padding, image=self.output, output=self.image)


def extent(kernel: Size, dilation: Size) -> Size:
    """Rows and columns that a window reaches over, the gaps between its pixels included: dilation * (K - 1) + 1."""
    (KH, KW), (DH, DW) = kernel, dilation
    return DH * (KH - 1) + 1, DW * (KW - 1) + 1


def turned(weight: Array, groups: int = 1) -> Array:
    """The kernel of that convolution: turned by 180 degrees, each group's input and output channels swapped.

    weight (O, C / groups, KH, KW) -> (C, O / groups, KH, KW).
    """
    flipped = weight[:, :, ::-1, ::-1]
    if groups == 1:
        return flipped.transpose(1, 0, 2, 3)
    O, C, KH, KW = weight.shape
    by_group = flipped.reshape(groups, O // groups, C, KH, KW)
    return by_group.swapaxes(1, 2).reshape(groups * C, O // groups, KH, KW)
