"""Mistakes in functions of one number at a time."""

from minires.exercises.mistakes.mistake import Mistake

_RELU, _SIGMOID, _TANH, _DROPOUT = "dy * (y > 0)", "dy * y * (1 - y)", "dy * (1 - y * y)", "dy * mask"
_SILU = "dy * s * (1 + x * (1 - s))"

MISTAKES = {
    "relu": [
        Mistake(
            "all_through",
            "dx is dy, everywhere. Where x is negative, y stays 0 when x changes a little: what is the slope there?",
            (_RELU, "dy"),
        ),
        Mistake(
            "times_y",
            "dx is dy times y. Draw relu: to the right of 0 it is a straight line, with the same slope everywhere.",
            (_RELU, "dy * y"),
        ),
        Mistake(
            "mask_of_dy",
            "dx is 0 where dy is negative. What decides is on which side of 0 the input was, whatever dy is.",
            (_RELU, "dy * (dy > 0)"),
        ),
        Mistake(
            "other_side",
            "dx is 0 where x is positive and dy where it is negative: the two sides are exchanged.",
            (_RELU, "dy * (y <= 0)"),
        ),
        Mistake(
            "slope_minus_1",
            "dx is -dy where x is negative: y does not move there, so the slope is 0, not -1.",
            (_RELU, "dy * np.sign(x)"),
        ),
    ],
    "sigmoid": [
        Mistake(
            "one_factor",
            "dx is dy times y. That is the slope of exp; here a second factor is missing: what becomes of the slope "
            "where y is nearly 1?",
            (_SIGMOID, "dy * y"),
        ),
        Mistake(
            "other_factor",
            "dx is dy times 1 - y. A factor is missing: what becomes of the slope where y is nearly 0?",
            (_SIGMOID, "dy * (1 - y)"),
        ),
        Mistake(
            "of_x",
            "The formula is right, but it has been given x. It is a formula in the output.",
            (_SIGMOID, "dy * x * (1 - x)"),
        ),
        Mistake("tanhs", "This is the slope of tanh, not of the sigmoid.", (_SIGMOID, "dy * (1 - y * y)")),
        Mistake(
            "sigmoid_of_y",
            "The sigmoid has been taken once more, of y: but y is sigmoid(x) already, and the slope at x is wanted.",
            (_SIGMOID, "dy / (2 + 2 * np.cosh(y))"),
        ),
        Mistake(
            "half_tanhs",
            "This is half the slope of tanh, whose y lies between -1 and 1. The sigmoid's lies between 0 and 1: where "
            "y is nearly 0 it is flat, too.",
            (_SIGMOID, "dy * (1 - y * y) / 2"),
        ),
        Mistake(
            "plus",
            "A sign is wrong within the slope: where y is nearly 1 the sigmoid is flat, and this is not.",
            (_SIGMOID, "dy * y * (1 + y)"),
        ),
    ],
    "tanh": [
        Mistake("not_squared", "dx is dy times 1 - y: is something missing a square?", (_TANH, "dy * (1 - y)")),
        Mistake(
            "of_x",
            "The formula is right, but it has been given x. It is a formula in the output.",
            (_TANH, "dy * (1 - x * x)"),
        ),
        Mistake("sigmoids", "This is the slope of the sigmoid, not of tanh.", (_TANH, "dy * y * (1 - y)")),
        Mistake(
            "inverse",
            "dy has been divided by the slope: that goes from y back to x values. A gradient is multiplied by it.",
            (_TANH, "dy / (1 - y * y)"),
        ),
        Mistake(
            "tanh_of_y",
            "tanh has been taken once more, of y: but y is tanh(x) already.",
            (_TANH, "dy * (1 - np.tanh(y) ** 2)"),
        ),
    ],
    "silu": [
        Mistake(
            "gate_alone",
            "dx is dy times s: the slope of x times a gate that stands still. But x moves the gate as well.",
            (_SILU, "dy * s"),
        ),
        Mistake(
            "gates_slope_alone",
            "What x does to the gate is right. But x goes through it, too: a product has two terms when it is derived.",
            (_SILU, "dy * x * s * (1 - s)"),
        ),
        Mistake(
            "without_x",
            "The slope of the gate has lost the x that it multiplies: y is x times s.",
            (_SILU, "dy * (s + s * (1 - s))"),
        ),
        Mistake("sigmoids", "This is the slope of s, the sigmoid, not of x times s.", (_SILU, "dy * s * (1 - s)")),
        Mistake(
            "sigmoids_in_y",
            "This is the sigmoid's formula in its output. Here the output is x times a sigmoid.",
            (_SILU, "dy * y * (1 - y)"),
        ),
        Mistake(
            "of_y",
            "Right but for one letter: y stands where x should. y is x times s, and s is in the formula already.",
            (_SILU, "dy * s * (1 + y * (1 - s))"),
        ),
        Mistake(
            "minus",
            "A sign is wrong: the gate opens as x grows, so its slope adds to what comes through.",
            (_SILU, "dy * s * (1 - x * (1 - s))"),
        ),
    ],
    "dropout": [
        Mistake(
            "all_through",
            "dx is dy, everywhere. A number that was left out has no influence on y: what is its slope?",
            (_DROPOUT, "dy"),
        ),
        Mistake(
            "not_scaled",
            "dx is 0 at the right places. But the numbers that stay are also scaled in the forward pass, "
            "and a scale is a slope.",
            (_DROPOUT, "dy * (mask > 0)"),
        ),
        Mistake(
            "scaled_twice",
            "The scale has come in twice: the mask of the forward pass holds it already.",
            (_DROPOUT, "dy * mask / (1 - p)"),
        ),
        Mistake(
            "scaled_only",
            "All of dy is scaled, and nothing is left out: a number without influence on y has no slope.",
            (_DROPOUT, "dy / (1 - p)"),
        ),
        Mistake(
            "times_y",
            "dx is dy times y. y is x times a constant for each element: the slope is that constant.",
            (_DROPOUT, "dy * y"),
        ),
    ],
}
