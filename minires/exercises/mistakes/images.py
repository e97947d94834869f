"""Mistakes in pooling and convolution."""

from minires.exercises.mistakes.mistake import Mistake

_WINDOW = "dpadded[:, i : i + stride * OH : stride, j : j + stride * OW : stride]"
_PUT = "np.put_along_axis(dflat, winner, dy[..., None], axis=-1)"
_CUT = "dpadded[:, padding : padding + H, padding : padding + W]"
_DX = "im2col_backward((dY @ weight_matrix.T).reshape(patches.shape))"
_DWEIGHT = "(P.T @ dY).reshape(K, K, C, O).transpose(3, 2, 0, 1)"
_GLOBAL = "dy[:, None, None, :] / (H * W)"


def _dx_with(weight):
    return f"im2col_backward((dY @ {weight}.transpose(2, 3, 1, 0).reshape(K * K * C, O).T).reshape(patches.shape))"


MISTAKES = {
    "global_avg_pool2d": [
        Mistake(
            "not_divided",
            "Each pixel gets all of dy. It has only its share in the mean.",
            (_GLOBAL, "dy[:, None, None, :]"),
        ),
        Mistake(
            "one_axis",
            "dy is divided by the number of rows or of columns: the mean is over all pixels.",
            ("(H * W)", "W"),
        ),
        Mistake(
            "one_axis_h",
            "dy is divided by the number of rows or of columns: the mean is over all pixels.",
            ("(H * W)", "H"),
        ),
        Mistake(
            "batch_too",
            "dy is divided by N, too: each image has a mean of its own.",
            ("(H * W)", "(N * H * W)"),
        ),
        Mistake(
            "times_x",
            "dx depends on x. A mean is linear: its slope is the same whatever x is.",
            (_GLOBAL, "x * dy[:, None, None, :] / (H * W)"),
        ),
    ],
    "avg_pool2d": [
        Mistake(
            "not_divided",
            "Each pixel gets all of its window's dy. It has only its share in the mean.",
            (" / (K * K)", ""),
        ),
        Mistake("one_axis", "dy is divided by K: how many pixels has a window?", ("(K * K)", "K")),
        Mistake(
            "tiled",
            "dy has been laid out as tiles side by side (np.tile). The K x K pixels of one window have the same dy, "
            "and lie next to each other: a reshape with its axes in that order does the same.",
            ("dwindows.reshape(x.shape)", "np.tile(dy, (1, K, K, 1)) / (K * K)"),
        ),
        Mistake(
            "corner",
            "Only one pixel of each window has a gradient: each of them has its share in the mean.",
            (
                "dwindows.reshape(x.shape)",
                "(dwindows * (np.arange(K * K).reshape(1, 1, K, 1, K, 1) == 0)).reshape(x.shape) * K * K",
            ),
        ),
    ],
    "max_pool2d": [
        Mistake(
            "all_equal",
            "Several equal pixels of one window have each received all of dy. Only the first of them, "
            "in reading order, counts.",
            (_PUT, "dflat[...] = (flat == flat.max(axis=-1, keepdims=True)) * dy[..., None]"),
        ),
        Mistake(
            "shared",
            "dy has been shared among the equal pixels of a window. That is a gradient, too, but not this function's: "
            "only the first of them, in reading order, counts.",
            (
                _PUT,
                "most = flat == flat.max(axis=-1, keepdims=True)\n"
                "dflat[...] = most * dy[..., None] / most.sum(axis=-1, keepdims=True)",
            ),
        ),
        Mistake(
            "last",
            "Of equal pixels the last has received dy: it must be the first, in reading order.",
            (_PUT, _PUT.replace("winner", "(K * K - 1 - flat[..., ::-1].argmax(axis=-1))[..., None]")),
        ),
        Mistake(
            "to_all",
            "Every pixel of a window has received dy. y is the largest of them alone: the others have no influence.",
            (_PUT, "dflat[...] = dy[..., None]"),
        ),
        Mistake(
            "averaged",
            "dy is spread over the window: that is average pooling. Here y is the largest pixel alone.",
            (_PUT, "dflat[...] = dy[..., None] / (K * K)"),
        ),
        Mistake(
            "times_y",
            "The right pixels have received something, but it is dy times the pixel: the largest is passed on as it "
            "is, so its slope is 1.",
            (_PUT, _PUT.replace("dy[..., None]", "(dy * y)[..., None]")),
        ),
        Mistake(
            "axes_mixed",
            "The numbers are right and some stand in the wrong place: window and pixel have changed places in a "
            "reshape. Which axes must lie side by side before rows and columns are made of them?",
            (".transpose(0, 1, 4, 2, 5, 3)", ".transpose(0, 4, 1, 5, 2, 3)"),
        ),
    ],
    "im2col": [
        Mistake(
            "overwritten",
            "Where windows overlap, only the last has left its gradient. A pixel that is in several windows is used "
            "several times: its gradients add up.",
            ("+= dpatches", "= dpatches"),
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
