"""Mistakes in im2col and convolution."""

from minires.exercises.mistakes.mistake import Mistake

_WINDOW = "dpadded[:, i : i + stride * OH : stride, j : j + stride * OW : stride]"
_AT = "dpadded[:, h * stride : h * stride + K, w * stride : w * stride + K]"
_CUT = "dpadded[:, padding : padding + H, padding : padding + W]"
_DX = "im2col_backward((dY @ weight_matrix.T).reshape(patches.shape))"
_DWEIGHT = "(P.T @ dY).reshape(K, K, C, O).transpose(3, 2, 0, 1)"
_OVERWRITTEN = (
    "np.zeros((N, x.shape[1] + 2 * padding, x.shape[2] + 2 * padding, C), x.dtype)\n"
    "dpatches = (dY @ weight_matrix.T).reshape(patches.shape)\n"
    "for i in range(K):\n"
    "    for j in range(K):\n"
    "        dx[:, i : i + stride * OH : stride, j : j + stride * OW : stride] = dpatches[:, :, :, i, j]\n"
    "dx = dx[:, padding : padding + x.shape[1], padding : padding + x.shape[2]]"
)
_OVERWRITTEN_BY_WINDOWS = (
    _OVERWRITTEN.replace("for i in range(K)", "for h in range(OH)")
    .replace("for j in range(K)", "for w in range(OW)")
    .replace(
        "dx[:, i : i + stride * OH : stride, j : j + stride * OW : stride] = dpatches[:, :, :, i, j]",
        "dx[:, h * stride : h * stride + K, w * stride : w * stride + K] = dpatches[:, h, w]",
    )
)


def _dx_with(weight):
    return f"im2col_backward((dY @ {weight}.transpose(2, 3, 1, 0).reshape(K * K * C, O).T).reshape(patches.shape))"


MISTAKES = {
    "im2col": [
        Mistake(
            "overwritten",
            "Where windows overlap, only the last has left its gradient. A pixel that is in several windows is used "
            "several times: its gradients add up.",
            ("+= dpatches", "= dpatches"),
        ),
        Mistake(
            "overwritten_by_windows",
            "Where windows overlap, only the last has left its gradient. A pixel that is in several windows is used "
            "several times: its gradients add up.",
            ("for i in range(K)", "for h in range(OH)"),
            ("for j in range(K)", "for w in range(OW)"),
            (f"{_WINDOW} += dpatches[:, :, :, i, j]", f"{_AT} = dpatches[:, h, w]"),
        ),
        Mistake(
            "stride_dropped",
            "The windows have been put side by side at a distance of 1: the stride is missing.",
            (_WINDOW, "dpadded[:, i : i + OH, j : j + OW]"),
        ),
        Mistake(
            "cut_at_corner",
            "The numbers are shifted by the padding: it lies on all four sides, and so must be cut off on all four.",
            (_CUT, "dpadded[:, :H, :W]"),
        ),
        Mistake(
            "cut_at_end",
            "The numbers are shifted by the padding: it lies on all four sides, and so must be cut off on all four.",
            (_CUT, "dpadded[:, 2 * padding :, 2 * padding :]"),
        ),
        Mistake(
            "exchanged",
            "Row and column within the window are exchanged: i goes with H, j with W.",
            ("dpatches[:, :, :, i, j]", "dpatches[:, :, :, j, i]"),
        ),
        Mistake(
            "turned",
            "The windows come back turned by half a turn: what was read at offset (i, j) must be added at (i, j).",
            ("dpatches[:, :, :, i, j]", "dpatches[:, :, :, K - 1 - i, K - 1 - j]"),
        ),
        Mistake(
            "averaged",
            "Each pixel has the mean of its windows' gradients. A pixel that is used several times has their sum.",
            ("padded)\nfor", "padded)\ncount = np.zeros_like(padded)\nfor"),
            (
                f"{_WINDOW} += dpatches[:, :, :, i, j]",
                f"{_WINDOW} += dpatches[:, :, :, i, j]\n        {_WINDOW.replace('dpadded', 'count')} += 1",
            ),
            (f"return {_CUT}", f"dpadded = dpadded / np.maximum(count, 1)\nreturn {_CUT}"),
        ),
    ],
    "conv2d": [
        Mistake(
            "kernel_turned",
            "dx has been made with the kernel turned by half a turn, compared with what this way of making it needs. "
            "By scattering (the backward pass of im2col) it stays as it is; as a convolution of dy it is turned.",
            (_DX, _dx_with("weight[:, :, ::-1, ::-1]")),
        ),
        Mistake(
            "kernel_transposed",
            "In dx, rows and columns of the kernel are exchanged.",
            (_DX, _dx_with("weight.transpose(0, 1, 3, 2)")),
        ),
        Mistake(
            "channels_transposed",
            "In dx, input and output channels of the kernel are exchanged: with C = O it fits, and is wrong. "
            "Over which of the two does the sum run?",
            (_DX, _dx_with("weight.transpose(1, 0, 2, 3)")),
        ),
        Mistake(
            "stride_dropped",
            "dx has been put together with a stride of 1: right only where the stride is 1.",
            (
                _DX,
                "im2col(np.pad(x, ((0, 0), (0, K), (0, K), (0, 0))), K, 1, padding)[1](np.pad("
                "(dY @ weight_matrix.T).reshape(patches.shape), [(0, 0)] + [(0, n + K + 2 * padding - K + 1 - m) "
                "for n, m in zip(x.shape[1:3], (OH, OW))] + [(0, 0)] * 3))[:, : x.shape[1], : x.shape[2]]",
            ),
        ),
        Mistake(
            "padding_shift",
            "dx is shifted by the padding: it lies on all four sides of x, and so must be cut off on all four.",
            (
                _DX,
                "im2col(np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))), K, stride, 0)[1]("
                "(dY @ weight_matrix.T).reshape(patches.shape))[:, : x.shape[1], : x.shape[2]]",
            ),
        ),
        Mistake(
            "overwritten",
            "Where windows overlap, only the last has left its gradient in dx. A pixel that is in several windows is "
            "used several times: its gradients add up.",
            (_DX, _OVERWRITTEN),
        ),
        Mistake(
            "overwritten_by_windows",
            "Where windows overlap, only the last has left its gradient in dx. A pixel that is in several windows is "
            "used several times: its gradients add up.",
            (_DX, _OVERWRITTEN_BY_WINDOWS),
        ),
        Mistake(
            "dx_order",
            "dx comes from a weight that was reshaped without a transpose: its axes are O, C, K, K, and those of a "
            "patch K, K, C. The numbers fit and stand in the wrong places.",
            (_DX, "im2col_backward((dY @ weight.reshape(O, K * K * C)).reshape(patches.shape))"),
        ),
        Mistake(
            "dx_order_of_matrix",
            "dx comes from a weight that was reshaped without a transpose: its axes are O, C, K, K, and those of a "
            "patch K, K, C. The numbers fit and stand in the wrong places.",
            (_DX, "im2col_backward((dY @ weight.reshape(K * K * C, O).T).reshape(patches.shape))"),
        ),
        Mistake(
            "dweight_reshaped",
            "dweight has been reshaped without a transpose: after the matrix product its axes are K, K, C, then O. A "
            "reshape to O, C, K, K fits and puts the numbers in the wrong places.",
            (_DWEIGHT, "(P.T @ dY).reshape(O, C, K, K)"),
        ),
        Mistake(
            "dweight_over_batch",
            "dweight is divided by N. The forward pass has no mean in it: the images' gradients add up.",
            (_DWEIGHT, f"{_DWEIGHT} / N"),
        ),
        Mistake(
            "dweight_mean",
            "dweight is a mean over all pixels. The forward pass has no mean in it: their gradients add up.",
            (_DWEIGHT, f"{_DWEIGHT} / (N * OH * OW)"),
        ),
        Mistake(
            "dbias_over_batch",
            "dbias is divided by N. The forward pass has no mean in it: the images' gradients add up.",
            ("dY.sum(axis=0)", "dY.sum(axis=0) / N"),
        ),
        Mistake(
            "dweight_turned",
            "dweight is turned by half a turn.",
            (_DWEIGHT, f"{_DWEIGHT}[:, :, ::-1, ::-1]"),
        ),
        Mistake(
            "dweight_transposed",
            "In dweight, rows and columns of the kernel are exchanged: weight's last two axes are i, then j.",
            (_DWEIGHT, _DWEIGHT.replace("(3, 2, 0, 1)", "(3, 2, 1, 0)")),
        ),
        Mistake(
            "dweight_order",
            "dweight holds the right numbers in the wrong places: a reshape has been given other axes than the ones "
            "the matrix product left. Patches are ordered i, j, c.",
            (_DWEIGHT, "(P.T @ dY).T.reshape(O, C, K, K)"),
        ),
        Mistake(
            "dweight_channels",
            "In dweight, input and output channels are exchanged.",
            (_DWEIGHT, "(P.T @ dY).reshape(K, K, C, O).transpose(2, 3, 0, 1)"),
        ),
        Mistake(
            "first_image",
            "dbias counts the first image alone: bias is added in every image, and its gradients add up.",
            ("dY.sum(axis=0)", "dy[0].sum(axis=(0, 1))"),
        ),
        Mistake(
            "first_pixel",
            "dbias counts one pixel alone: bias is added to every pixel of every image, and its gradients add up.",
            ("dY.sum(axis=0)", "dY[0]"),
        ),
        Mistake(
            "bias_mean",
            "dbias is a mean. bias is added to every pixel of every image, and its gradients add up.",
            ("dY.sum(axis=0)", "dY.mean(axis=0)"),
        ),
    ],
}
