"""Mistakes in squeeze and excitation."""

from minires.exercises.mistakes.mistake import Mistake

_DX, _DGATE = "dy * gate[:, None, None] + mean_backward(dmean)", "(dy * x).sum(axis=(1, 2))"

MISTAKES = {
    "squeeze_excitation": [
        Mistake(
            "gate_is_constant",
            "The gate is taken for a constant: dx is dy times the gate, and no more. But the gate is made of x, and "
            "every pixel also acts through it.",
            (_DX, "dy * gate[:, None, None]"),
        ),
        Mistake(
            "through_the_gate_alone",
            "dx is what comes back through the gate, and no more. x is also multiplied by it, and that is the direct "
            "way.",
            (_DX, "mean_backward(dmean)"),
        ),
        Mistake(
            "direct_way_not_gated",
            "On the direct way dy has been handed on as it is. y is x times the gate: what is the slope?",
            (_DX, "dy + mean_backward(dmean)"),
        ),
        Mistake(
            "mean_not_divided",
            "What comes back through the gate has been given to every pixel whole. It is the gradient of a mean, in "
            "which each of the H * W pixels has a share.",
            (_DX, "dy * gate[:, None, None] + dmean[:, None, None]"),
        ),
        Mistake(
            "divided_by_channels",
            "What comes back through the gate has been divided by the number of channels too: a mean is over the "
            "pixels of one channel.",
            (_DX, "dy * gate[:, None, None] + mean_backward(dmean) / x.shape[3]"),
        ),
        Mistake("two_ways_subtracted", "The two ways have been subtracted: gradients of ways add up.", (" + ", " - ")),
        Mistake(
            "dgate_mean",
            "dgate is a mean over the pixels. The gate multiplies all of them, and its gradients add up.",
            (_DGATE, _DGATE.replace(".sum(", ".mean(")),
        ),
        Mistake(
            "dgate_without_x",
            "dgate is the sum of dy. The gate multiplies x: its slope is x.",
            (_DGATE, "dy.sum(axis=(1, 2))"),
        ),
        Mistake(
            "dgate_of_y",
            "dgate is made with y. What the gate multiplies is x: its slope is that.",
            (_DGATE, "(dy * y).sum(axis=(1, 2))"),
        ),
        Mistake(
            "dgate_over_the_batch",
            "dgate has been added up over the images, too. Each image has a gate of its own.",
            (_DGATE, "np.broadcast_to((dy * x).sum(axis=(0, 1, 2)), gate.shape)"),
        ),
        Mistake(
            "sigmoid_forgotten",
            "dgate has not gone back through the sigmoid.",
            ("sigmoid_backward(dgate)", "dgate"),
        ),
        Mistake(
            "relu_forgotten",
            "What came back from the second layer has not gone back through the ReLU.",
            ("relu_backward(dhidden)", "dhidden"),
        ),
    ]
}
