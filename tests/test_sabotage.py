"""The checker, tested by sabotage: wrong backward passes, each of which gradcheck must catch.

Every wrong version is the real operation with one mistake that people make: a dropped term, a wrong sign, a
transpose or flip forgotten, a sum or a mean left out.
"""

import numpy as np
import pytest

from minires.backend import col2im
from minires.calibration import temperature_scaling
from minires.ensemble import log_mean_softmax, view_of
from minires.gradcheck import GradcheckError, gradcheck
from minires.layers import (
    adaptive_avg_pool2d,
    add,
    avg_pool2d,
    batch_norm,
    batch_norm_relu,
    concat,
    conv2d,
    conv_transpose2d,
    dropout,
    flatten,
    gelu,
    global_avg_pool2d,
    group_norm,
    hardswish,
    layer_norm,
    leaky_relu,
    linear,
    max_pool2d,
    pad_shortcut,
    relu,
    scale,
    sigmoid,
    silu,
    squeeze_excitation,
    stochastic_depth,
    tanh,
    upsample_bilinear2d,
)
from minires.losses import cross_entropy, distillation, giou_loss, mse_loss, pixel_cross_entropy, sigmoid_focal_loss
from minires.models.blocks import flatten_channels_first
from minires.models.branches import side_by_side
from minires.models.densenet import DenseLayer
from minires.robustness import margin


def normal(*shape, seed=0):
    return np.random.default_rng([seed, 7]).standard_normal(shape)


def distinct(*shape):
    """No ties in any window, no zeros."""
    return np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) * 0.1 - 2.05


class Pass:
    """What a wrong backward pass may use: the inputs, y, dy, and the right gradients."""

    def __init__(self, inputs, y, dy, gradients):
        self.inputs, self.x, self.y, self.dy = inputs, inputs[0], y, dy
        self.gradients, self.dx = gradients, gradients[0]

    def but(self, index, gradient):
        """The right gradients, but one."""
        return tuple(gradient if i == index else right for i, right in enumerate(self.gradients))


def sabotaged(op, mistake):
    """op with the backward pass dy -> mistake(Pass)."""

    def wrong(*inputs):
        y, backward = op(*inputs)

        def wrong_backward(dy):
            gradients = backward(dy)
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            return mistake(Pass(inputs, y, dy, gradients))

        return y, wrong_backward

    return wrong


def scaled(index, factor):
    return lambda p: p.but(index, factor * p.gradients[index])


CASES = {}  # name: (op, inputs, {mistake: function})


def mistakes_in(name, op, *inputs, **mistakes):
    """Besides its own, every operation gets the mistakes that fit all: zero, wrong sign, twice too much, ..."""
    for index in range(sum(x.dtype.kind == "f" for x in inputs)):
        for label, factor in (("zero", 0.0), ("sign", -1.0), ("twice", 2.0), ("nearly_right", 1 + 1e-4)):
            mistakes[f"{label}_{index}"] = scaled(index, factor)
        mistakes[f"missing_{index}"] = lambda p, index=index: p.but(index, None)
    mistakes["lost_axis"] = lambda p: p.but(0, p.dx[0])
    CASES[name] = (op, inputs, mistakes)


# Convolution: O == C and H == W, so that a forgotten transpose is no error of shape


def conv_dx(p, weight, stride=1, padding=1):
    """dx as it would be with another weight."""
    return conv2d(p.x, weight, stride=stride, padding=padding)[1](p.dy)[0]


def conv_mistakes(stride):
    return {
        "dx_kernel_not_flipped": lambda p: p.but(0, conv_dx(p, p.inputs[1][:, :, ::-1, ::-1], stride)),
        "dx_kernel_flipped_one_way": lambda p: p.but(0, conv_dx(p, p.inputs[1][:, :, ::-1], stride)),
        "dx_channels_not_swapped": lambda p: p.but(0, conv_dx(p, p.inputs[1].swapaxes(0, 1), stride)),
        "dx_rows_and_columns_swapped": lambda p: p.but(0, conv_dx(p, p.inputs[1].swapaxes(2, 3), stride)),
        "dx_shifted_by_the_padding": lambda p: p.but(0, np.roll(p.dx, 1, axis=1)),
        "dx_one_image_for_all": lambda p: p.but(0, np.broadcast_to(p.dx[:1], p.x.shape)),
        "dweight_not_summed_over_the_batch": lambda p: p.but(
            1, conv2d(p.x[:1], *p.inputs[1:], stride, 1)[1](p.dy[:1])[1]
        ),
        "dweight_mean_over_the_batch": scaled(1, 1 / 2),
        "dweight_channels_swapped": lambda p: p.but(1, p.gradients[1].swapaxes(0, 1)),
        "dweight_kernel_flipped": lambda p: p.but(1, p.gradients[1][:, :, ::-1, ::-1]),
        "dweight_channels_last": lambda p: p.but(1, p.gradients[1].transpose(0, 2, 3, 1)),
        "dweight_without_the_border": lambda p: p.but(1, p.gradients[1] * (np.arange(3) == 1)),
    }


mistakes_in(
    "conv2d",
    lambda x, weight, bias: conv2d(x, weight, bias, padding=1),
    normal(2, 4, 4, 2),
    normal(2, 2, 3, 3, seed=1),
    normal(2, seed=2),
    **conv_mistakes(1),
    dbias_of_one_image=lambda p: p.but(2, p.dy[0].sum(axis=(0, 1))),
    dbias_of_one_row=lambda p: p.but(2, p.dy[:, 0].sum(axis=(0, 1))),
    dbias_mean=lambda p: p.but(2, p.dy.mean(axis=(0, 1, 2))),
    dbias_forgotten=lambda p: p.gradients[:2],
)


def without_stride(p):
    """dx scattered as if windows lay side by side."""
    weight_matrix = p.inputs[1].transpose(2, 3, 1, 0).reshape(-1, 2)
    N, OH, OW, O = p.dy.shape
    dpatches = (p.dy.reshape(-1, O) @ weight_matrix.T).reshape(N, OH, OW, 3, 3, 2)
    return col2im(dpatches, (4, 4), (1, 1), ((1, 1), (1, 1)))


mistakes_in(
    "conv2d, stride 2",
    lambda x, weight, bias: conv2d(x, weight, bias, 2, 1),
    normal(2, 4, 4, 2),
    normal(2, 2, 3, 3, seed=1),
    normal(2, seed=2),
    **conv_mistakes(2),
    dx_missing_stride=lambda p: p.but(0, without_stride(p)),
    dx_only_where_windows_start=lambda p: p.but(0, p.dx * ((np.arange(4) % 2 == 0)[:, None, None])),
)


# Groups, dilation, and the adjoint. Two groups of two channels, so that one may be taken for the other


def ungrouped(weight):
    """The dense weight (4, 4, 3, 3) that does what two groups do, (4, 2, 3, 3)."""
    dense = np.zeros((4, 4, 3, 3))
    dense[:2, :2], dense[2:, 2:] = weight[:2], weight[2:]
    return dense


def groups_dx(p, weight):
    """dx as it would be with another weight."""
    return p.but(0, conv2d(p.x, weight, padding=2, dilation=2, groups=2)[1](p.dy)[0])


def swapped_in_groups(weight):
    return weight.reshape(2, 2, 2, 3, 3).swapaxes(1, 2).reshape(4, 2, 3, 3)


def dense_dweight(p):
    return conv2d(p.x, ungrouped(p.inputs[1]), padding=2, dilation=2)[1](p.dy)[1]


mistakes_in(
    "conv2d, groups and dilation",
    lambda x, weight: conv2d(x, weight, padding=2, dilation=2, groups=2),
    normal(2, 4, 4, 4),
    normal(4, 2, 3, 3, seed=1),
    dx_of_the_other_group=lambda p: p.but(0, p.dx[..., [2, 3, 0, 1]]),
    dx_channels_dealt_out_in_turn=lambda p: p.but(0, p.dx[..., [0, 2, 1, 3]]),
    dx_of_the_first_group_alone=lambda p: p.but(0, p.dx * np.array([1, 1, 0, 0])),
    dx_channels_not_swapped=lambda p: groups_dx(p, swapped_in_groups(p.inputs[1])),
    dx_kernel_not_flipped=lambda p: groups_dx(p, p.inputs[1][:, :, ::-1, ::-1]),
    dx_without_dilation=lambda p: p.but(0, conv2d(p.x, p.inputs[1], padding=1, groups=2)[1](p.dy)[0]),
    dx_shifted_by_half_the_padding=lambda p: p.but(0, np.roll(p.dx, 1, axis=1)),
    dweight_of_the_other_groups_channels=lambda p: p.but(
        1, np.concatenate([dense_dweight(p)[:2, 2:], dense_dweight(p)[2:, :2]])
    ),
    dweight_of_the_first_channels_for_all=lambda p: p.but(1, dense_dweight(p)[:, :2]),
    dweight_of_both_groups_added=lambda p: p.but(1, dense_dweight(p)[:, :2] + dense_dweight(p)[:, 2:]),
    dweight_without_dilation=lambda p: p.but(1, conv2d(p.x, p.inputs[1], padding=1, groups=2)[1](p.dy)[1]),
    dweight_channels_swapped=lambda p: p.but(1, swapped_in_groups(p.gradients[1])),
)

mistakes_in(
    "conv2d, depthwise",
    lambda x, weight, bias: conv2d(x, weight, bias, 2, 1, groups=4),
    normal(2, 4, 4, 4),
    normal(4, 1, 3, 3, seed=1),
    normal(4, seed=2),
    dx_kernel_flipped=lambda p: p.but(0, conv2d(p.x, p.inputs[1][:, :, ::-1, ::-1], None, 2, 1, groups=4)[1](p.dy)[0]),
    dx_one_kernel_for_all_channels=lambda p: p.but(
        0, conv2d(p.x, np.repeat(p.inputs[1][:1], 4, axis=0), None, 2, 1, groups=4)[1](p.dy)[0]
    ),
    dweight_kernel_flipped=lambda p: p.but(1, p.gradients[1][:, :, ::-1, ::-1]),
    dweight_over_all_channels=lambda p: p.but(1, np.repeat(p.gradients[1].sum(axis=0, keepdims=True), 4, axis=0)),
    dweight_of_one_image=lambda p: p.but(1, conv2d(p.x[:1], p.inputs[1], None, 2, 1, groups=4)[1](p.dy[:1])[1]),
    dbias_mean=lambda p: p.but(2, p.dy.mean(axis=(0, 1, 2))),
)

mistakes_in(
    "conv_transpose2d",
    lambda x, weight, bias: conv_transpose2d(x, weight, bias, 2, 1, 1),
    normal(2, 3, 3, 2),
    normal(2, 2, 3, 3, seed=1),
    normal(2, seed=2),
    dx_kernel_flipped=lambda p: p.but(0, conv2d(p.dy, p.inputs[1][:, :, ::-1, ::-1], None, 2, 1)[0]),
    dx_channels_not_swapped=lambda p: p.but(0, conv2d(p.dy, p.inputs[1].swapaxes(0, 1), None, 2, 1)[0]),
    dx_as_if_padding_were_none=lambda p: p.but(0, conv2d(p.dy, p.inputs[1], None, 2, ((0, 1), (0, 1)))[0]),
    dx_without_stride=lambda p: p.but(0, conv2d(p.dy, p.inputs[1], None, 1, 1)[0][:, :3, :3]),
    dweight_flipped=lambda p: p.but(1, p.gradients[1][:, :, ::-1, ::-1]),
    dweight_channels_swapped=lambda p: p.but(1, p.gradients[1].swapaxes(0, 1)),
    dweight_of_one_image=lambda p: p.but(1, conv_transpose2d(p.x[:1], *p.inputs[1:], 2, 1, 1)[1](p.dy[:1])[1]),
    dbias_without_the_last_row=lambda p: p.but(2, p.dy[:, :-1].sum(axis=(0, 1, 2))),
    dbias_mean=lambda p: p.but(2, p.dy.mean(axis=(0, 1, 2))),
)

mistakes_in(
    "upsample_bilinear2d",
    lambda x: upsample_bilinear2d(x, (6, 6)),
    normal(2, 3, 3, 2),
    nearest=lambda p: p.but(0, p.dy.reshape(2, 3, 2, 3, 2, 2).sum(axis=(2, 4))),
    mean=lambda p: p.but(0, p.dx / 4),
    sampled_back=lambda p: p.but(0, upsample_bilinear2d(p.dy, (3, 3))[0]),
    corners_aligned=lambda p: p.but(0, upsample_bilinear2d(p.x, (6, 6), align_corners=True)[1](p.dy)),
    rows_and_columns_exchanged=lambda p: p.but(0, p.dx.swapaxes(1, 2)),
    borders_forgotten=lambda p: p.but(0, p.dx * np.array([0, 1, 0])[:, None]),
)


# Batch norm, its wrong formulas written out ---------------------------------------------------------------------


def norm_parts(p, eps=1e-3):
    """x_hat, inverse_std, and the mean over all axes but the last."""
    mean = lambda v: v.mean(axis=(0, 1, 2))  # noqa: E731
    inverse_std = 1 / np.sqrt(p.x.var(axis=(0, 1, 2)) + eps)
    return (p.x - mean(p.x)) * inverse_std, inverse_std, mean


def norm_dx(formula):
    """The mistake of a dx given by formula(dy, x_hat, inverse_std, weight, mean)."""
    return lambda p: p.but(0, formula(p.dy, *norm_parts(p)[:2], p.inputs[1], norm_parts(p)[2]))


def unbiased(p):
    x_hat, s, mean = norm_parts(p)
    n = p.x.size // p.x.shape[-1]
    return p.inputs[1] * s * (p.dy - mean(p.dy) - x_hat * (p.dy * x_hat).sum(axis=(0, 1, 2)) / (n - 1))


NORM = (normal(2, 2, 3, 2) * 2 + 1, np.array([0.5, -2.0]), normal(2, seed=2))

mistakes_in(
    "batch_norm, training",
    lambda x, weight, bias: batch_norm(x, None, None, weight, bias, training=True, eps=1e-3),
    *NORM,
    mean_term_dropped=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy - xh * mean(dy * xh))),
    variance_term_dropped=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy - mean(dy))),
    statistics_as_constants=norm_dx(lambda dy, xh, s, w, mean: w * s * dy),
    mean_term_sign=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy + mean(dy) - xh * mean(dy * xh))),
    variance_term_sign=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy - mean(dy) + xh * mean(dy * xh))),
    variance_term_twice=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy - mean(dy) - 2 * xh * mean(dy * xh))),
    weight_forgotten=norm_dx(lambda dy, xh, s, w, mean: s * (dy - mean(dy) - xh * mean(dy * xh))),
    std_forgotten=norm_dx(lambda dy, xh, s, w, mean: w * (dy - mean(dy) - xh * mean(dy * xh))),
    variance_for_std=norm_dx(lambda dy, xh, s, w, mean: w * s * s * (dy - mean(dy) - xh * mean(dy * xh))),
    mean_over_the_batch_axis_alone=norm_dx(
        lambda dy, xh, s, w, mean: w * s * (dy - dy.mean(axis=0) - xh * (dy * xh).mean(axis=0))
    ),
    means_over_channels_too=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy - dy.mean() - xh * (dy * xh).mean())),
    eps_forgotten=lambda p: p.but(0, p.dx * norm_parts(p, 0)[1] / norm_parts(p)[1]),
    unbiased_variance=lambda p: p.but(0, unbiased(p)),
    dweight_of_x=lambda p: p.but(1, (p.dy * p.x).sum(axis=(0, 1, 2))),
    dweight_not_normalised=lambda p: p.but(1, p.gradients[1] / norm_parts(p)[1]),
    dweight_mean=scaled(1, 1 / 12),
    dbias_mean=scaled(2, 1 / 12),
    dbias_of_one_image=lambda p: p.but(2, p.dy[0].sum(axis=(0, 1))),
    dweight_and_dbias_exchanged=lambda p: (p.dx, p.gradients[2], p.gradients[1]),
)

RUNNING = (np.array([0.3, -1.0]), np.array([2.0, 0.7]))

mistakes_in(
    "batch_norm, inference",
    lambda x, weight, bias: batch_norm(x, *RUNNING, weight, bias, eps=1e-3),
    *NORM,
    the_formula_of_training=norm_dx(lambda dy, xh, s, w, mean: w * s * (dy - mean(dy) - xh * mean(dy * xh))),
    the_batchs_variance=norm_dx(lambda dy, xh, s, w, mean: w * s * dy),
    weight_forgotten=lambda p: p.but(0, p.dx / p.inputs[1]),
    variance_for_std=lambda p: p.but(0, p.dx / np.sqrt(RUNNING[1] + 1e-3)),
    dweight_with_the_batchs_mean=lambda p: p.but(1, (p.dy * norm_parts(p)[0]).sum(axis=(0, 1, 2))),
    dbias_of_one_image=lambda p: p.but(2, p.dy[0].sum(axis=(0, 1))),
)

# Batch norm with a shortcut and relu: mistakes about the gate, which none of the three has by itself -------------


def gated(p):
    return p.dy * (p.y > 0)


def norm_alone(p, dz):
    """dx, dweight, dbias of the norm for the upstream gradient dz."""
    return batch_norm(p.x, None, None, *p.inputs[1:3], training=True, eps=1e-3)[1](dz)


def gated_afterwards(p):
    """The norm's gradient for dy, and relu's gate only then: the means have seen what the gate keeps out."""
    dx, dweight, dbias = norm_alone(p, p.dy)
    return dx * (p.y > 0), dweight, dbias


def fused_dx(formula):
    """The mistake of a dx given by formula(dz, x_hat, inverse_std, weight, mean, dy)."""
    return lambda p: p.but(0, formula(gated(p), *norm_parts(p)[:2], p.inputs[1], norm_parts(p)[2], p.dy))


def gate_of(values):
    """The mistake of a gate that opens where values(p) are positive."""
    return lambda p: (*norm_alone(p, p.dy * (values(p) > 0)), p.dy * (values(p) > 0))[: len(p.gradients)]


def normalised(p):
    return batch_norm(p.x, None, None, *p.inputs[1:3], training=True, eps=1e-3)[0]


FUSED = {
    "gate_forgotten": lambda p: (*norm_alone(p, p.dy), p.dy)[: len(p.gradients)],
    "gate_forgotten_in_dx": fused_dx(lambda dz, xh, s, w, mean, dy: w * s * (dy - mean(dy) - xh * mean(dy * xh))),
    "gate_reversed": gate_of(lambda p: 0.5 - (p.y > 0)),
    "gate_of_dy": gate_of(lambda p: p.dy),
    "gate_of_x": gate_of(lambda p: p.x),
    "gate_after_the_sums": lambda p: (*gated_afterwards(p), *p.gradients[3:]),
    "gate_after_the_sums_in_dx": lambda p: p.but(0, gated_afterwards(p)[0]),
    "sums_before_the_gate_in_dx": fused_dx(lambda dz, xh, s, w, mean, dy: w * s * (dz - mean(dy) - xh * mean(dy * xh))),
    "dweight_before_the_gate": lambda p: p.but(1, norm_alone(p, p.dy)[1]),
    "dbias_before_the_gate": lambda p: p.but(2, norm_alone(p, p.dy)[2]),
    "mean_term_dropped": fused_dx(lambda dz, xh, s, w, mean, dy: w * s * (dz - xh * mean(dz * xh))),
    "variance_term_dropped": fused_dx(lambda dz, xh, s, w, mean, dy: w * s * (dz - mean(dz))),
    "statistics_as_constants": fused_dx(lambda dz, xh, s, w, mean, dy: w * s * dz),
    "means_over_what_passed_alone": fused_dx(
        lambda dz, xh, s, w, mean, dy: w * s * (dz - (mean(dz) + xh * mean(dz * xh)) * (dz != 0))
    ),
}

mistakes_in(
    "batch_norm_relu",
    lambda x, weight, bias: batch_norm_relu(x, None, None, weight, bias, training=True, eps=1e-3),
    *NORM,
    **FUSED,
)
mistakes_in(
    "batch_norm_relu with a shortcut",
    lambda x, weight, bias, shortcut: batch_norm_relu(x, None, None, weight, bias, shortcut, training=True, eps=1e-3),
    *NORM,
    normal(2, 2, 3, 2, seed=3) * 2,
    **FUSED,
    dshortcut_without_gate=lambda p: p.but(3, p.dy),
    dshortcut_normalised=lambda p: p.but(3, p.dx),
    dshortcut_scaled_by_the_weight=lambda p: p.but(3, p.gradients[3] * p.inputs[1]),
    shortcut_missing_from_the_gate=gate_of(normalised),
    shortcut_after_the_relu=lambda p: (*norm_alone(p, p.dy * (normalised(p) > 0)), p.dy),
    shortcut_forgotten=lambda p: p.gradients[:3],
)

# Activations ----------------------------------------------------------------------------------------------------

mistakes_in(
    "relu",
    relu,
    normal(3, 4),
    gate_forgotten=lambda p: p.dy,
    gate_reversed=lambda p: p.dy * (p.x < 0),
    gate_of_dy=lambda p: p.dy * (p.dy > 0),
    dy_forgotten=lambda p: (p.x > 0) * 1.0,
    leaky=lambda p: np.where(p.x > 0, p.dy, 0.01 * p.dy),
)
mistakes_in(
    "sigmoid",
    sigmoid,
    normal(3, 4),
    one_factor=lambda p: p.dy * p.y,
    other_factor=lambda p: p.dy * (1 - p.y),
    plus=lambda p: p.dy * p.y * (1 + p.y),
    in_x=lambda p: p.dy * p.x * (1 - p.x),
    tanhs=lambda p: p.dy * (1 - p.y**2),
)
mistakes_in(
    "tanh",
    tanh,
    normal(3, 4),
    not_squared=lambda p: p.dy * (1 - p.y),
    plus=lambda p: p.dy * (1 + p.y**2),
    in_x=lambda p: p.dy * (1 - p.x**2),
    sigmoids=lambda p: p.dy * p.y * (1 - p.y),
)


def silus_gate(x):
    return sigmoid(x)[0]


mistakes_in(
    "leaky_relu",
    lambda x: leaky_relu(x, 0.1),
    distinct(3, 14),
    relus=lambda p: p.dy * (p.y > 0),
    slope_squared=lambda p: p.dy * np.where(p.y > 0, 1, 0.01),
    sides_swapped=lambda p: p.dy * np.where(p.y > 0, 0.1, 1),
    slope_added=lambda p: p.dy * ((p.y > 0) + 0.1),
    sign_of_dy=lambda p: np.where(p.dy > 0, p.dy, 0.1 * p.dy),
)
mistakes_in(
    "silu",
    silu,
    normal(3, 4),
    gate_alone=lambda p: p.dy * silus_gate(p.x),
    gate_and_no_slope_of_x=lambda p: p.dy * p.x * silus_gate(p.x) * (1 - silus_gate(p.x)),
    sigmoids=lambda p: p.dy * silus_gate(p.x) * (1 - silus_gate(p.x)),
    in_y=lambda p: p.dy * silus_gate(p.x) * (1 + p.y * (1 - silus_gate(p.x))),
    plus=lambda p: p.dy * silus_gate(p.x) * (1 + p.x * (1 + silus_gate(p.x))),
)
mistakes_in(
    "gelu",
    gelu,
    normal(3, 4),
    gate_alone=lambda p: p.dy * p.y / p.x,
    density_without_its_constant=lambda p: p.dy * (p.y / p.x + p.x * np.exp(-p.x * p.x / 2)),
    density_not_halved=lambda p: p.dy * (p.y / p.x + p.x * np.exp(-p.x * p.x) / np.sqrt(2 * np.pi)),
    the_other_kinds=lambda p: gelu(p.x, "tanh")[1](p.dy),
)
mistakes_in(
    "gelu, tanh",
    lambda x: gelu(x, "tanh"),
    normal(3, 4),
    the_other_kinds=lambda p: gelu(p.x)[1](p.dy),
    gate_alone=lambda p: p.dy * p.y / p.x,
    inner_slope_forgotten=lambda p: p.dy * (p.y / p.x + p.x * 2 * (p.y / p.x) * (1 - p.y / p.x)),
)
mistakes_in(
    "hardswish",
    hardswish,
    np.array([-4.0, -2.5, -1.0, 0.5, 2.0, 3.5, 5.0]),
    gate_alone=lambda p: p.dy * np.clip(p.x + 3, 0, 6) / 6,
    never_shut=lambda p: p.dy * np.where(p.x < 3, p.x / 3 + 0.5, 1),
    never_open=lambda p: p.dy * np.where(p.x > -3, p.x / 3 + 0.5, 0),
    sixths=lambda p: p.dy * np.where(np.abs(p.x) < 3, p.x / 6 + 0.5, p.x > 0),
    smooth=lambda p: silu(p.x)[1](p.dy),
)

# Pooling --------------------------------------------------------------------------------------------------------


def spread(p):
    """dy to every pixel of its 2 x 2 window."""
    return p.dy.repeat(2, axis=1).repeat(2, axis=2)


def overwritten(p):
    """Overlapping windows that write where they must add: kernel 2, stride 1."""
    dx = np.zeros(p.x.shape)
    for oh, ow in np.ndindex(p.dy.shape[1:3]):
        window = (slice(None), slice(oh, oh + 2), slice(ow, ow + 2))
        won = p.x[window] == p.y[:, oh : oh + 1, ow : ow + 1]
        dx[window] = np.where(won, p.dy[:, oh : oh + 1, ow : ow + 1], dx[window])
    return dx


mistakes_in(
    "max_pool2d",
    lambda x: max_pool2d(x, 2),
    distinct(2, 4, 4, 2),
    to_every_pixel=spread,
    shared_like_a_mean=lambda p: spread(p) / 4,
    to_the_last_pixel=lambda p: spread(p) * (np.arange(4) % 2)[:, None, None] * (np.arange(4) % 2)[:, None],
    to_the_smallest=lambda p: -max_pool2d(-p.x, 2)[1](-p.dy),
    rows_and_columns_swapped=lambda p: p.dx.swapaxes(1, 2),
    channels_swapped=lambda p: p.dx[..., ::-1],
    dy_forgotten=lambda p: (spread(p) != 0) * (p.dx != 0) * 1.0,
)
mistakes_in(
    "max_pool2d, overlapping",
    lambda x: max_pool2d(x, 2, 1),
    distinct(2, 4, 4, 2),
    written_not_added=overwritten,
    divided_by_the_overlap=lambda p: p.dx / 4,
    missing_stride=lambda p: np.pad(p.dy, ((0, 0), (0, 1), (0, 1), (0, 0))),
)
mistakes_in(
    "avg_pool2d",
    lambda x: avg_pool2d(x, 2),
    normal(2, 4, 4, 2),
    not_divided=spread,
    divided_by_the_side=lambda p: spread(p) / 2,
    to_one_pixel=lambda p: spread(p) * (np.arange(4) % 2)[:, None, None] * (np.arange(4) % 2)[:, None],
    rows_and_columns_swapped=lambda p: p.dx.swapaxes(1, 2),
)
mistakes_in(
    "avg_pool2d, padded",
    lambda x: avg_pool2d(x, 3, 2, 1),
    normal(2, 5, 5, 2),
    padding_not_counted=lambda p: avg_pool2d(p.x, 3, 2, 1)[1](
        p.dy * 9 / (9 * avg_pool2d(np.ones(p.x.shape), 3, 2, 1)[0])
    ),
    shifted_by_the_padding=lambda p: np.roll(p.dx, (1, 1), axis=(1, 2)),
    overlap_not_added=lambda p: p.dy.repeat(2, axis=1).repeat(2, axis=2)[:, 1:, 1:] / 9,
)
mistakes_in(
    "max_pool2d, rounded up",
    lambda x: max_pool2d(x, 3, 2, ceil_mode=True),
    distinct(2, 6, 6, 2),
    last_windows_forgotten=lambda p: np.pad(
        max_pool2d(p.x[:, :5, :5], 3, 2)[1](p.dy[:, :2, :2]), ((0, 0), (0, 1), (0, 1), (0, 0))
    ),
    last_windows_moved_inside=lambda p: max_pool2d(p.x, 3, 2, ceil_mode=True)[1](np.roll(p.dy, 1, axis=1)),
    shared_like_a_mean=lambda p: avg_pool2d(p.x, 3, 2, ceil_mode=True)[1](p.dy),
)
mistakes_in(
    "avg_pool2d, rounded up",
    lambda x: avg_pool2d(x, 3, 2, ceil_mode=True),
    normal(2, 6, 6, 2),
    whole_windows_counted=lambda p: avg_pool2d(np.pad(p.x, ((0, 0), (0, 1), (0, 1), (0, 0))), 3, 2)[1](p.dy)[:, :6, :6],
    last_windows_forgotten=lambda p: np.pad(
        avg_pool2d(p.x[:, :5, :5], 3, 2)[1](p.dy[:, :2, :2]), ((0, 0), (0, 1), (0, 1), (0, 0))
    ),
    cut_in_rows_alone=lambda p: avg_pool2d(np.pad(p.x, ((0, 0), (0, 0), (0, 1), (0, 0))), 3, 2, ceil_mode=True)[1](
        p.dy
    )[:, :, :6],
)
mistakes_in(
    "avg_pool2d, border not counted",
    lambda x: avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    normal(2, 5, 5, 2),
    border_counted=lambda p: avg_pool2d(p.x, 3, 2, 1)[1](p.dy),
    divided_twice=lambda p: avg_pool2d(p.x, 3, 2, 1, count_include_pad=False)[1](p.dy / 9),
    corners_as_edges=lambda p: avg_pool2d(p.x, 3, 2, 1)[1](p.dy * 1.5),
)
mistakes_in(
    "adaptive_avg_pool2d",
    lambda x: adaptive_avg_pool2d(x, (3, 2)),
    normal(2, 5, 4, 2),
    not_divided=lambda p: adaptive_avg_pool2d(p.x, (3, 2))[1](p.dy * 4),
    windows_that_do_not_overlap=lambda p: np.repeat(np.repeat(p.dy, (2, 2, 1), 1), 2, 2) / 4,
    one_size_for_all=lambda p: adaptive_avg_pool2d(p.x, (3, 2))[1](
        p.dy * np.array([1, 1.5, 1])[:, None, None]  # as if every window had 2 rows: the middle one has 3
    ),
    to_one_pixel=lambda p: p.dx * (np.arange(5) % 2 == 0)[:, None, None] * 2,
)
mistakes_in(
    "global_avg_pool2d",
    global_avg_pool2d,
    normal(2, 3, 4, 2),
    not_divided=lambda p: p.dx * 12,
    divided_by_rows_alone=lambda p: p.dx * 4,
    not_broadcast=lambda p: p.dy[:, None, None, :] / 12,
    to_one_pixel=lambda p: p.dx * (np.arange(12).reshape(3, 4, 1) == 0) * 12,
    mean_over_the_batch=lambda p: np.broadcast_to(p.dx.mean(axis=0), p.x.shape),
)

# Linear, and what only moves numbers ----------------------------------------------------------------------------

mistakes_in(
    "linear",
    linear,
    normal(3, 3),
    normal(3, 3, seed=1),
    normal(3, seed=2),
    dx_weight_transposed=lambda p: p.but(0, p.dy @ p.inputs[1].T),
    dweight_not_transposed=lambda p: p.but(1, p.gradients[1].T),
    dweight_of_dy_alone=lambda p: p.but(1, p.dy),
    dweight_of_one_item=lambda p: p.but(1, np.outer(p.dy[0], p.x[0])),
    dweight_mean=scaled(1, 1 / 3),
    dbias_not_summed=lambda p: p.but(2, p.dy),
    dbias_over_the_wrong_axis=lambda p: p.but(2, p.dy.sum(axis=1)),
    dbias_mean=scaled(2, 1 / 3),
)
mistakes_in(
    "flatten",
    flatten,
    normal(2, 3, 3, 3),
    not_reshaped=lambda p: p.dy,
    channels_first=lambda p: p.dy.reshape(p.x.shape).transpose(0, 3, 1, 2),
    fortran_order=lambda p: p.dy.reshape(p.x.shape, order="F"),
)
mistakes_in(
    "dropout",
    lambda x: dropout(x, 0.4, rng=0),
    distinct(3, 4),
    mask_forgotten=lambda p: p.dy / 0.6,
    scale_forgotten=lambda p: p.dy * (p.y != 0),
    another_mask=lambda p: dropout(p.x, 0.4, rng=1)[1](p.dy),
    mask_reversed=lambda p: p.dy * (p.y == 0) / 0.6,
    scaled_by_p=lambda p: p.dy * (p.y != 0) / 0.4,
)


# Group norm and layer norm: the weight belongs inside the means --------------------------------------------------


def norm_mistakes(groups):
    """groups(x): an array in the shape (n, pixels, groups, channels) or (pixels, channels), and the axes of a mean."""

    def parts(p, weighted=True):
        x, axes = groups(p.x)
        g = groups(p.inputs[1] * p.dy if weighted else p.dy)[0]
        std = np.sqrt(x.var(axis=axes, keepdims=True) + 1e-5)
        x_hat = (x - x.mean(axis=axes, keepdims=True)) / std
        return g, x_hat, std, lambda values: values.mean(axis=axes, keepdims=True)

    def but_dx(p, dx):
        return p.but(0, dx.reshape(p.x.shape))

    def weight_outside_the_means(p):
        dy, x_hat, std, mean = parts(p, weighted=False)
        dx = (dy - mean(dy) - x_hat * mean(dy * x_hat)) / std
        return but_dx(p, p.inputs[1] * dx.reshape(p.x.shape))

    def statistics_are_constants(p):
        g, _, std, _ = parts(p)
        return but_dx(p, g / std)

    def path_through_the_mean_forgotten(p):
        g, x_hat, std, mean = parts(p)
        return but_dx(p, (g - x_hat * mean(g * x_hat)) / std)

    def path_through_the_variance_forgotten(p):
        g, _, std, mean = parts(p)
        return but_dx(p, (g - mean(g)) / std)

    def weight_forgotten(p):
        dy, x_hat, std, mean = parts(p, weighted=False)
        return but_dx(p, (dy - mean(dy) - x_hat * mean(dy * x_hat)) / std)

    def dweight_of_x(p):
        return p.but(1, (p.dy * p.x).sum(axis=(0, 1, 2)))

    def dbias_of_one_image(p):
        return p.but(2, p.dy[0].sum(axis=(0, 1)))

    def of_the_batchs_channels(p):
        """As batch norm has it."""
        return batch_norm(p.x, None, None, *p.inputs[1:], training=True)[1](p.dy)

    return {name: mistake for name, mistake in locals().items() if name not in ("groups", "parts", "but_dx")}


NORM_INPUTS = (normal(2, 3, 2, 4), normal(4, seed=1), normal(4, seed=2))
mistakes_in(
    "group_norm",
    lambda x, weight, bias: group_norm(x, 2, weight, bias),
    *NORM_INPUTS,
    **norm_mistakes(lambda x: (x.reshape(2, 6, 2, 2), (1, 3))),
    of_one_group=lambda p: group_norm(p.x, 1, *p.inputs[1:])[1](p.dy),
    of_each_channel=lambda p: group_norm(p.x, 4, *p.inputs[1:])[1](p.dy),
    channels_dealt_out=lambda p: p.but(
        0,
        group_norm(p.x[..., [0, 2, 1, 3]], 2, *(v[[0, 2, 1, 3]] for v in p.inputs[1:]))[1](p.dy[..., [0, 2, 1, 3]])[0],
    ),
    dweight_a_group=lambda p: p.but(1, p.gradients[1].reshape(2, 2).sum(axis=1).repeat(2)),
)
mistakes_in(
    "layer_norm",
    layer_norm,
    *NORM_INPUTS,
    **norm_mistakes(lambda x: (x.reshape(-1, 4), (1,))),
    over_the_whole_image=lambda p: group_norm(p.x, 1, *p.inputs[1:])[1](p.dy),
    dweight_not_summed=lambda p: p.but(1, (p.dy * p.x)[0, 0, 0]),
)

# Squeeze and excitation, stochastic depth, scale -------------------------------------------------------------------
# S == C, so that a forgotten transpose is no error of shape


def gate_of(p):
    """(N, 1, 1, C): what every channel of an image is multiplied by."""
    return (p.y.sum(axis=(1, 2)) / p.x.sum(axis=(1, 2)))[:, None, None]


mistakes_in(
    "squeeze_excitation",
    squeeze_excitation,
    normal(2, 3, 4, 3),
    normal(3, 3, 1, 1, seed=1),
    normal(3, seed=2) + 1,
    normal(3, 3, 1, 1, seed=3),
    normal(3, seed=4),
    path_through_the_gate_forgotten=lambda p: p.but(0, p.dy * gate_of(p)),
    direct_path_forgotten=lambda p: p.but(0, p.dx - p.dy * gate_of(p)),
    mean_handed_back_undivided=lambda p: p.but(0, p.dy * gate_of(p) + 12 * (p.dx - p.dy * gate_of(p))),
    direct_path_without_the_gate=lambda p: p.but(0, p.dx - p.dy * gate_of(p) + p.dy),
    gate_without_x=lambda p: p.but(4, (p.dy.sum(axis=(1, 2)) * (gate_of(p) * (1 - gate_of(p)))[:, 0, 0]).sum(axis=0)),
    sigmoid_without_its_slope=lambda p: p.but(4, (p.dy * p.x).sum(axis=(0, 1, 2))),
    of_one_image=lambda p: p.but(4, squeeze_excitation(p.x[:1], *p.inputs[1:])[1](p.dy[:1])[4]),
    dweight1_transposed=lambda p: p.but(1, p.gradients[1].swapaxes(0, 1)),
    dweight2_transposed=lambda p: p.but(3, p.gradients[3].swapaxes(0, 1)),
    the_two_layers_exchanged=lambda p: (p.dx, *p.gradients[3:], *p.gradients[1:3]),
)
mistakes_in(
    "stochastic_depth",
    lambda x: stochastic_depth(x, 0.4, rng=0),
    distinct(6, 2, 2),
    mask_forgotten=lambda p: p.dy / 0.6,
    scale_forgotten=lambda p: p.dy * (p.y != 0),
    another_mask=lambda p: stochastic_depth(p.x, 0.4, rng=1)[1](p.dy),
    mask_reversed=lambda p: p.dy * (p.y == 0) / 0.6,
    scaled_by_p=lambda p: p.dy * (p.y != 0) / 0.4,
    dropped_by_numbers=lambda p: dropout(p.x, 0.4, rng=0)[1](p.dy),
    one_mask_for_the_batch=lambda p: p.dy * (p.y[:1] != 0) / 0.6,
)
mistakes_in(
    "scale",
    scale,
    normal(2, 3, 4),
    normal(1, seed=1),
    not_scaled=lambda p: p.but(0, p.dy),
    divided_by_the_weight=lambda p: p.but(0, p.dy / p.inputs[1]),
    of_the_branch_s_output=lambda p: p.but(1, (p.dy * p.y).sum().reshape(1)),
    dweight_of_dy_alone=lambda p: p.but(1, p.dy.sum().reshape(1)),
    dweight_mean=lambda p: p.but(1, (p.dy * p.x).mean().reshape(1)),
    dweight_of_one_image=lambda p: p.but(1, (p.dy[0] * p.x[0]).sum().reshape(1)),
)
mistakes_in(
    "add",
    add,
    normal(2, 3),
    normal(2, 3, seed=1),
    one_branch_forgotten=lambda p: p.gradients[:1],
    dy_halved_between_them=lambda p: (p.dy / 2, p.dy / 2),
    products=lambda p: (p.dy * p.inputs[1], p.dy * p.x),
)
mistakes_in(
    "flatten_channels_first",
    flatten_channels_first,
    normal(2, 3, 3, 3),
    in_the_order_of_nhwc=lambda p: p.but(0, p.dy.reshape(p.x.shape)),
    rows_and_columns_swapped=lambda p: p.but(0, p.dx.swapaxes(1, 2)),
    axes_turned_the_wrong_way=lambda p: p.but(0, p.dy.reshape(p.x.shape).transpose(0, 3, 1, 2)),
)
mistakes_in(
    "side_by_side",
    lambda x: side_by_side((tanh, sigmoid), x),
    normal(2, 3, 4),
    the_first_branch_alone=lambda p: p.but(0, tanh(p.x)[1](p.dy[..., :4].copy())),
    the_last_branch_alone=lambda p: p.but(0, sigmoid(p.x)[1](p.dy[..., 4:].copy())),
    branches_swapped=lambda p: p.but(0, side_by_side((sigmoid, tanh), p.x)[1](p.dy)),
)
DENSE_LAYER = DenseLayer(3, 2, np.random.default_rng(0)).to(np.float64).freeze()
mistakes_in(
    "DenseLayer",
    lambda x: DENSE_LAYER(x),
    normal(2, 3, 3, 3),
    without_what_later_layers_want=lambda p: p.but(0, p.dx - p.dy[..., :3]),
    without_what_it_wants_itself=lambda p: p.but(0, p.dy[..., :3].copy()),
    as_a_sum=lambda p: p.but(0, p.dx + p.dy[..., 2:]),
)
mistakes_in(
    "concat",
    concat,
    normal(2, 3),
    normal(2, 3, seed=1),
    exchanged=lambda p: p.gradients[::-1],
    the_first_for_both=lambda p: (p.dx, p.dx),
    whole_dy=lambda p: (p.dy, p.dy),
    interleaved=lambda p: (p.dy[:, ::2], p.dy[:, 1::2]),
)


def shortcut_dx(p, rows=slice(None, None, 2), channels=slice(1, 3)):
    dx = np.zeros(p.x.shape)
    dx[:, rows, rows] = p.dy[..., channels]
    return dx


mistakes_in(
    "pad_shortcut",
    lambda x: pad_shortcut(x, 4, 2),
    normal(2, 4, 4, 2),
    missing_stride=lambda p: shortcut_dx(p, slice(0, 2)),
    other_pixels=lambda p: shortcut_dx(p, slice(1, None, 2)),
    first_channels=lambda p: shortcut_dx(p, channels=slice(0, 2)),
    last_channels=lambda p: shortcut_dx(p, channels=slice(2, 4)),
    to_every_pixel=lambda p: p.dy[..., 1:3].repeat(2, axis=1).repeat(2, axis=2),
    in_the_small_shape=lambda p: p.dy[..., 1:3],
)


def block(x, weight):
    """relu(conv(x) + x), as in a residual network."""
    y, conv_backward = conv2d(x, weight, padding=1)
    y, relu_backward = relu(add(y, x)[0])

    def backward(dy):
        dy = relu_backward(dy)
        dx, dweight = conv_backward(dy)
        return dx + dy, dweight

    return y, backward


mistakes_in(
    "residual block",
    block,
    normal(2, 4, 4, 2),
    normal(2, 2, 3, 3, seed=1),
    shortcut_forgotten=lambda p: p.but(0, p.dx - gated(p)),
    only_the_shortcut=lambda p: p.but(0, gated(p)),
    shortcut_twice=lambda p: p.but(0, p.dx + gated(p)),
    shortcut_around_the_relu=lambda p: p.but(0, p.dx - gated(p) + p.dy),
    relu_forgotten=lambda p: (conv_dx(p, p.inputs[1]) + p.dy, p.gradients[1]),
)

# Losses ---------------------------------------------------------------------------------------------------------

LOGITS, LABELS = normal(3, 4), np.array([1, 3, 0])
SOFT = np.random.default_rng(1).uniform(0.1, 1, (3, 4))


def softmax(p):
    e = np.exp(p.x)
    return e / e.sum(axis=1, keepdims=True)


mistakes_in(
    "cross_entropy",
    lambda logits: cross_entropy(logits, LABELS),
    LOGITS,
    not_divided_by_N=lambda p: p.dx * 3,
    divided_by_K_too=lambda p: p.dx / 4,
    one_hot_forgotten=lambda p: softmax(p) * p.dy / 3,
    softmax_forgotten=lambda p: -np.eye(4)[LABELS] * p.dy / 3,
    one_hot_added=lambda p: (softmax(p) + np.eye(4)[LABELS]) * p.dy / 3,
    dloss_forgotten=lambda p: (softmax(p) - np.eye(4)[LABELS]) / 3,
    softmax_over_the_batch=lambda p: (np.exp(p.x) / np.exp(p.x).sum(axis=0) - np.eye(4)[LABELS]) * p.dy / 3,
    of_probabilities=lambda p: p.dx * softmax(p) * (1 - softmax(p)),
)
mistakes_in(
    "cross_entropy, smoothed",
    lambda logits: cross_entropy(logits, LABELS, 0.1),
    LOGITS,
    smoothing_forgotten=lambda p: cross_entropy(p.x, LABELS)[1](p.dy),
    twice_the_smoothing=lambda p: cross_entropy(p.x, LABELS, 0.2)[1](p.dy),
    shared_by_the_others_alone=lambda p: (softmax(p) - np.where(np.eye(4)[LABELS] > 0, 0.9, 0.1 / 3)) * p.dy / 3,
)
mistakes_in(
    "cross_entropy, soft labels",
    lambda logits: cross_entropy(logits, SOFT),
    LOGITS,
    sum_of_targets_forgotten=lambda p: (softmax(p) - SOFT) * p.dy / 3,
    hardened=lambda p: cross_entropy(p.x, SOFT.argmax(axis=1))[1](p.dy),
    targets_normalised=lambda p: (softmax(p) - SOFT / SOFT.sum(axis=1, keepdims=True)) * p.dy / 3,
)
TAUGHT = SOFT / SOFT.sum(axis=1, keepdims=True)


def of_teacher(p, T):
    """(softmax(x / T) - the teacher's) * dy / N"""
    e = np.exp(p.x / T)
    return (e / e.sum(axis=1, keepdims=True) - TAUGHT) * p.dy / 3


def of_labels(p):
    return (softmax(p) - np.eye(4)[LABELS]) * p.dy / 3


mistakes_in(
    "distillation",
    lambda logits: distillation(logits, LABELS, TAUGHT, 3.0, 0.7),
    LOGITS,
    temperature_squared_forgotten=lambda p: 0.7 / 3 * of_teacher(p, 3) + 0.3 * of_labels(p),
    chain_rule_of_the_temperature_forgotten=lambda p: 0.7 * 9 * of_teacher(p, 3) + 0.3 * of_labels(p),
    shares_exchanged=lambda p: 0.3 * 3 * of_teacher(p, 3) + 0.7 * of_labels(p),
    labels_forgotten=lambda p: 0.7 * 3 * of_teacher(p, 3),
    teacher_forgotten=lambda p: 0.3 * of_labels(p),
    student_at_temperature_1=lambda p: 0.7 * 3 * of_teacher(p, 1) + 0.3 * of_labels(p),
    labels_at_the_temperature=lambda p: 0.7 * 3 * of_teacher(p, 3) + 0.3 * cross_entropy(p.x / 3, LABELS)[1](p.dy),
)
PIXELS, MASK = normal(2, 3, 2, 4), np.array([[[2, 0], [255, 3], [255, 1]], [[0, 255], [2, 2], [3, 1]]])
COUNTED, SHOWN = MASK != 255, np.eye(4)[np.where(MASK == 255, 0, MASK)]


def of_pixels(p):
    """softmax - one-hot of every pixel, whether it counts or not"""
    e = np.exp(p.x)
    return e / e.sum(axis=-1, keepdims=True) - SHOWN


mistakes_in(
    "pixel_cross_entropy",
    lambda logits: pixel_cross_entropy(logits, MASK),
    PIXELS,
    mean_over_all_pixels=lambda p: p.dx * COUNTED.mean(),
    mean_of_the_images_means=lambda p: (
        of_pixels(p) * (p.dy * COUNTED / (2 * COUNTED.sum((1, 2), keepdims=True)))[..., None]
    ),
    ignored_pixels_are_background=lambda p: of_pixels(p) * p.dy / COUNTED.sum(),
    sum_for_mean=lambda p: p.dx * COUNTED.sum(),
    one_hot_forgotten=lambda p: p.dx + SHOWN * COUNTED[..., None] * p.dy / COUNTED.sum(),
    rows_turned_over=lambda p: p.dx[:, ::-1],
)
OTHER = np.eye(4)[np.where(np.eye(4)[LABELS] > 0, -np.inf, LOGITS).argmax(axis=1)]
mistakes_in(
    "margin",
    lambda logits: margin(logits, LABELS),
    LOGITS,
    label_forgotten=lambda p: OTHER * p.dy / 3,
    other_forgotten=lambda p: -np.eye(4)[LABELS] * p.dy / 3,
    sign=lambda p: -p.dx,
    not_divided_by_N=lambda p: p.dx * 3,
    likeliest_of_all=lambda p: (np.eye(4)[p.x.argmax(axis=1)] - np.eye(4)[LABELS]) * p.dy / 3,
)


def of_mean(p):
    """(probabilities of each network, their mean)"""
    powers = np.exp(p.x)
    each = powers / powers.sum(axis=-1, keepdims=True)
    return each, each.mean(axis=0)


def through_softmax(each, dp):
    return each * dp - each * (each * dp).sum(axis=-1, keepdims=True)


mistakes_in(
    "log_mean_softmax",
    log_mean_softmax,
    normal(3, 2, 4),
    mean_of_the_logits=lambda p: np.broadcast_to(p.dy / 3, p.x.shape),
    shares_forgotten=lambda p: (p.dy - of_mean(p)[0] * p.dy.sum(axis=-1, keepdims=True)) / 3,
    normalisation_forgotten=lambda p: of_mean(p)[0] * p.dy / (3 * of_mean(p)[1]),
    mean_not_divided=lambda p: through_softmax(of_mean(p)[0], p.dy / of_mean(p)[1]),
    logarithm_forgotten=lambda p: through_softmax(of_mean(p)[0], p.dy / 3),
    one_network_for_all=lambda p: np.broadcast_to(p.dx[:1], p.x.shape),
)
mistakes_in(
    "temperature_scaling",
    temperature_scaling,
    normal(3, 4),
    np.array(1.7),
    multiplied=lambda p: p.but(0, p.dy * 1.7),
    sign_of_the_temperature=lambda p: p.but(1, -p.gradients[1]),
    square_forgotten=lambda p: p.but(1, -(p.dy * p.x).sum() / 1.7),
    mean_for_sum=lambda p: p.but(1, p.gradients[1] / 12),
    logits_forgotten=lambda p: p.but(1, -p.dy.sum() / 1.7**2),
)
mistakes_in(
    "view_of",
    lambda x: view_of(x, True, 1, -2),
    normal(2, 4, 5, 2),
    moved_on_and_not_back=lambda p: view_of(p.dy, True, 1, -2)[0],
    not_mirrored_back=lambda p: view_of(p.dy, False, -1, 2)[0],
    moved_before_it_is_mirrored=lambda p: view_of(p.dy, True, -1, 2)[0],
    rolled_round=lambda p: np.roll(p.dy[:, :, ::-1], (-1, 2), axis=(1, 2)),
)
TARGET = normal(3, 4, seed=2)
mistakes_in(
    "mse_loss",
    lambda prediction: mse_loss(prediction, TARGET),
    normal(3, 4),
    two_forgotten=lambda p: p.dx / 2,
    divided_by_N_alone=lambda p: p.dx * 4,
    not_divided=lambda p: p.dx * 12,
    target_forgotten=lambda p: p.x * 2 * p.dy / 12,
    sign_of_the_difference=lambda p: np.sign(p.x - TARGET) * p.dy / 12,
    dloss_forgotten=lambda p: 2 * (p.x - TARGET) / 12,
)
YES = np.arange(12).reshape(3, 4) % 3 == 0


def focal_parts(p):
    """(a, p, q, -log p) of the right answer at each logit, and its sign."""
    sign = np.where(YES, 1, -1)
    right = 1 / (1 + np.exp(-sign * p.x))
    return np.where(YES, 0.25, 0.75), right, 1 - right, -np.log(right), sign


def focal_mistake(formula):
    return lambda p: formula(*focal_parts(p)) * p.dy / 12


mistakes_in(
    "sigmoid_focal_loss",
    lambda logits: sigmoid_focal_loss(logits, YES),
    normal(3, 4),
    modulation_taken_for_a_constant=focal_mistake(lambda a, p, q, cost, sign: -sign * a * q**2 * q),
    cross_entropy_taken_for_a_constant=focal_mistake(lambda a, p, q, cost, sign: -sign * a * q**2 * 2 * p * cost),
    gamma_forgotten=focal_mistake(lambda a, p, q, cost, sign: -sign * a * q**2 * (p * cost + q)),
    alpha_forgotten=focal_mistake(lambda a, p, q, cost, sign: -sign * q**2 * (2 * p * cost + q)),
    alpha_for_both=focal_mistake(lambda a, p, q, cost, sign: -sign * 0.25 * q**2 * (2 * p * cost + q)),
    sign_of_the_target_forgotten=focal_mistake(lambda a, p, q, cost, sign: -a * q**2 * (2 * p * cost + q)),
    not_divided=lambda p: p.dx * 12,
    dloss_forgotten=lambda p: p.dx / p.dy,
)
SIDES = np.abs(normal(3, 4, seed=2)) + 0.5


def giou_parts(p):
    """(gA, gI, gC) of the page, and the sides across of the box, of the intersection and of the least box around."""
    boxes = [p.x, SIDES, np.minimum(p.x, SIDES), np.maximum(p.x, SIDES)]
    own, target, inner, outer = (box[:, :2] + box[:, 2:] for box in boxes)
    I, C = inner.prod(axis=1), outer.prod(axis=1)
    U = own.prod(axis=1) + target.prod(axis=1) - I
    gA, gC = I / U**2 - 1 / C, U / C**2
    return gA[:, None], (-1 / U - gA)[:, None], gC[:, None], *(sides[:, [1, 0, 1, 0]] for sides in (own, inner, outer))


def giou_mistake(formula):
    return lambda p: formula(*giou_parts(p), p.x < SIDES) * p.dy / 3


mistakes_in(
    "giou_loss",
    lambda distances: giou_loss(distances, SIDES),
    np.abs(normal(3, 4)) + 0.3,
    least_box_forgotten=giou_mistake(lambda gA, gI, gC, own, inner, outer, less: gA * own + gI * inner * less),
    area_forgotten=giou_mistake(lambda gA, gI, gC, own, inner, outer, less: gI * inner * less + gC * outer * ~less),
    intersection_forgotten=giou_mistake(lambda gA, gI, gC, own, inner, outer, less: gA * own + gC * outer * ~less),
    brackets_swapped=giou_mistake(
        lambda gA, gI, gC, own, inner, outer, less: gA * own + gI * inner * ~less + gC * outer * less
    ),
    sides_along=giou_mistake(
        lambda gA, gI, gC, own, inner, outer, less: (
            gA * own[:, ::-1] + gI * inner[:, ::-1] * less + gC * outer[:, ::-1] * ~less
        )
    ),
    not_divided=lambda p: p.dx * 3,
    dloss_forgotten=lambda p: p.dx / p.dy,
)


@pytest.mark.parametrize("name", CASES)
def test_the_right_version_passes(name):
    op, inputs, _ = CASES[name]
    gradcheck(op, *inputs)
    gradcheck(sabotaged(op, lambda p: p.gradients), *inputs)  # nor does wrapping it change anything


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, (_, _, mistakes) in CASES.items() for mistake in mistakes]
)
def test_every_mistake_is_caught(name, mistake):
    op, inputs, mistakes = CASES[name]
    with pytest.raises(GradcheckError):
        gradcheck(sabotaged(op, mistakes[mistake]), *inputs)
