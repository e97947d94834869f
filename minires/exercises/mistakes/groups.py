"""Mistakes in grouped convolution."""

from minires.exercises.mistakes.mistake import Mistake

_DY = "dy.reshape(N * OH * OW, G, O).transpose(1, 0, 2)"
_DP = "(dY @ matrices.transpose(0, 2, 1)).reshape(G, N * OH * OW, K * K, C)"
_DX = "im2col_backward(dP.transpose(1, 2, 0, 3).reshape(patches.shape))"
_DWEIGHT = "dmatrices.reshape(G, K, K, C, O).transpose(0, 4, 3, 1, 2).reshape(weight.shape)"


def _dx_with(weight):
    matrices = f"{weight}.transpose(0, 3, 4, 2, 1).reshape(G, K * K * C, O)"
    return f"(dY @ {matrices}.transpose(0, 2, 1)).reshape(G, N * OH * OW, K * K, C)"


MISTAKES = {
    "grouped_conv2d": [
        Mistake(
            "groups_in_turn",
            "The channels of dy have been dealt out to the groups in turn, as cards are. A group's output channels lie "
            "side by side: the first O are group 0's.",
            (_DY, "dy.reshape(N * OH * OW, O, G).transpose(2, 0, 1)"),
        ),
        Mistake(
            "dx_groups_first",
            "dx has each group's numbers in the wrong places: the groups stand before the pixels of a window there. In "
            "patches a pixel comes first, and in it the groups.",
            (_DX, "im2col_backward(dP.transpose(1, 0, 2, 3).reshape(patches.shape))"),
        ),
        Mistake(
            "dx_groups_last",
            "In dx the groups have been dealt out in turn: in a pixel the channels of a group lie side by side.",
            (_DX, "im2col_backward(dP.transpose(1, 2, 3, 0).reshape(patches.shape))"),
        ),
        Mistake(
            "dx_not_transposed",
            "dx has been reshaped without a transpose: the groups, which come first after the product, belong between "
            "a window's pixels and a group's channels.",
            (_DX, "im2col_backward(dP.reshape(patches.shape))"),
        ),
        Mistake(
            "kernel_turned",
            "dx has been made with the kernels turned by half a turn, compared with what this way of making it needs. "
            "By scattering (the backward pass of im2col) they stay as they are; as convolutions of dy they are turned.",
            (_DP, _dx_with("weight[:, :, ::-1, ::-1].reshape(G, O, C, K, K)")),
        ),
        Mistake(
            "channels_transposed",
            "In dx, the input and output channels of each group are exchanged: with C = O it fits, and is wrong. Over "
            "which of the two does the sum run?",
            (_DP, _dx_with("weight.reshape(G, O, C, K, K).transpose(0, 2, 1, 3, 4)")),
        ),
        Mistake(
            "one_group_for_all",
            "dx comes from the first group's weight in every group. Each has its own.",
            (_DP, "(dY @ matrices[:1].transpose(0, 2, 1)).reshape(G, N * OH * OW, K * K, C)"),
        ),
        Mistake(
            "dweight_of_all_groups",
            "dweight holds in every group the sum over all groups. A group's weight has met its own channels alone.",
            (_DWEIGHT, _DWEIGHT.replace("dmatrices", "(dmatrices.sum(axis=0) + 0 * dmatrices)")),
        ),
        Mistake(
            "dweight_reshaped",
            "dweight has been reshaped without a transpose: after the product a group's axes are K, K, C, then O. A "
            "reshape to O, C, K, K fits and puts the numbers in the wrong places.",
            (_DWEIGHT, "dmatrices.reshape(weight.shape)"),
        ),
        Mistake(
            "dweight_order",
            "dweight holds the right numbers in the wrong places: a reshape has been given other axes than the ones "
            "the product left. Patches are ordered i, j, c.",
            (_DWEIGHT, "dmatrices.transpose(0, 2, 1).reshape(weight.shape)"),
        ),
        Mistake(
            "dweight_turned",
            "dweight is turned by half a turn.",
            (_DWEIGHT, f"{_DWEIGHT}[:, :, ::-1, ::-1]"),
        ),
        Mistake(
            "dweight_transposed",
            "In dweight, rows and columns of the kernel are exchanged: weight's last two axes are i, then j.",
            (_DWEIGHT, _DWEIGHT.replace("(0, 4, 3, 1, 2)", "(0, 4, 3, 2, 1)")),
        ),
        Mistake(
            "dweight_mean",
            "dweight is a mean over all pixels. The forward pass has no mean in it: their gradients add up.",
            (_DWEIGHT, f"{_DWEIGHT} / (N * OH * OW)"),
        ),
        Mistake(
            "dweight_over_batch",
            "dweight is divided by N. The forward pass has no mean in it: the images' gradients add up.",
            (_DWEIGHT, f"{_DWEIGHT} / N"),
        ),
    ],
}
