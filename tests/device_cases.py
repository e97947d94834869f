"""What must give the same numbers on every device: one table, for CuPy's double and for a real GPU."""

import inspect
from dataclasses import dataclass, field

import numpy as np
import pytest

from minires import layers, losses, optim, segmentation
from minires.backend import DeviceError, array_module, device_of, half, resolve_device, to_device, to_numpy
from minires.calibration import temperature_scaling
from minires.compression import PruningSGD, gradual_sparsity
from minires.ensemble import log_mean_softmax, view_of
from minires.losses import cross_entropy, distillation, giou_loss, mse_loss, pixel_cross_entropy, sigmoid_focal_loss
from minires.models import DenseNet, plain8, resnet8, simple_cnn
from minires.models.blocks import flatten_channels_first
from minires.models.googlenet import Inception
from minires.models.narrow import narrow
from minires.module import Module, Parameter
from minires.robustness import margin
from minires.sequential import Sequential, call


@dataclass(frozen=True)
class Case:
    """An operation, the shapes of its floating-point inputs, other inputs, and keyword arguments."""

    function: object
    shapes: tuple
    others: tuple = ()
    options: dict = field(default_factory=dict)

    def __str__(self):
        options = [f"{name}={value}".replace(" ", "") for name, value in self.options.items()]
        return "-".join([self.function.__name__, *(str(shape).replace(" ", "") for shape in self.shapes), *options])

    def inputs(self, dtype):
        rng = np.random.default_rng(0)
        return [*(rng.standard_normal(shape).astype(dtype) for shape in self.shapes), *self.others]


def _batch_norm(x, weight, bias, running_mean, running_var, training):
    """`batch_norm` with the gradients' arguments first and a variance that is positive."""
    array_module(running_var).multiply(running_var, running_var, out=running_var)
    y, backward = layers.batch_norm(x, running_mean, running_var, weight, bias, training=training)
    return y, lambda dy: (*backward(dy), running_mean, running_var)


def _batch_norm_relu(x, weight, bias, running_mean, running_var, *shortcut, training):
    """`batch_norm_relu` in the same way."""
    array_module(running_var).multiply(running_var, running_var, out=running_var)
    y, backward = layers.batch_norm_relu(x, running_mean, running_var, weight, bias, *shortcut, training=training)
    return y, lambda dy: (*backward(dy), running_mean, running_var)


def _bare_batch_norm(x):
    return layers.batch_norm(x, None, None, training=True)


def _group_norm(x, weight, bias, num_groups):
    return layers.group_norm(x, num_groups, weight, bias)


def _weighted_cross_entropy(logits, weight, labels, **options):
    """`cross_entropy` with weights, which are positive, and an ignored item."""
    return cross_entropy(logits, labels, weight=array_module(weight).square(weight), **options)


def _giou_loss(distances, targets, weight):
    """`giou_loss` of distances and weights that are positive."""
    if distances.dtype.kind != "f" or not distances.dtype.isnative:  # refused, but what makes them positive converts
        return giou_loss(distances, targets, weight)
    xp, signs = array_module(distances), array_module(distances).sign(distances)
    loss, backward = giou_loss(abs(distances), xp.square(targets) + 0.1, xp.square(weight), divisor=2)
    return loss, lambda dloss=1: backward(dloss) * signs


_X = (3, 6, 5, 4)  # N, H, W, C
_LABELS = np.array([2, 0, 1, 4, 1])
_MASKS = np.array([[[2, 0], [255, 3], [255, 1]], [[0, 255], [2, 2], [3, 1]]])

OPERATIONS = [
    Case(layers.relu, (_X,)),
    Case(layers.sigmoid, (_X,)),
    Case(layers.tanh, (_X,)),
    Case(layers.relu, ((),)),
    Case(layers.leaky_relu, (_X,), options={"negative_slope": 0.2}),
    Case(layers.silu, (_X,)),
    Case(layers.gelu, (_X,)),
    Case(layers.gelu, (_X,), options={"approximate": "tanh"}),
    Case(layers.hardswish, (_X,)),
    Case(layers.gelu, ((),)),
    Case(layers.conv2d, (_X, (7, 4, 3, 3)), options={"padding": 1}),
    Case(layers.conv2d, (_X, (7, 4, 3, 3), (7,)), options={"stride": 2, "padding": 1}),
    Case(layers.conv2d, (_X, (7, 4, 1, 1)), options={"stride": 2}),
    Case(layers.conv2d, (_X, (7, 4, 1, 1), (7,))),
    Case(layers.conv2d, (_X, (7, 4, 2, 3), (7,)), options={"stride": (1, 2), "padding": ((1, 0), (2, 1))}),
    Case(layers.conv2d, (_X, (2, 4, 5, 5)), options={"padding": (0, 4)}),
    Case(layers.conv2d, (_X, (7, 4, 3, 3), (7,)), options={"padding": 1, "input_gradient": False}),
    Case(layers.conv2d, (_X, (7, 4, 2, 3)), options={"stride": 2, "input_gradient": False}),
    Case(layers.conv2d, (_X, (7, 4, 3, 3), (7,)), options={"padding": (2, 3), "dilation": (2, 3)}),
    Case(layers.conv2d, (_X, (7, 4, 2, 3)), options={"stride": 2, "padding": 2, "dilation": 2}),
    Case(layers.conv2d, (_X, (6, 2, 3, 3), (6,)), options={"padding": 1, "groups": 2}),
    Case(layers.conv2d, (_X, (4, 1, 3, 3), (4,)), options={"stride": 2, "padding": 1, "groups": 4}),
    Case(layers.conv2d, (_X, (8, 1, 3, 2)), options={"padding": 1, "dilation": (1, 2), "groups": 4}),
    Case(layers.conv2d, (_X, (6, 2, 1, 1)), options={"groups": 2}),
    Case(layers.conv2d, (_X, (4, 2, 3, 3)), options={"padding": 1, "groups": 2, "input_gradient": False}),
    Case(layers.conv_transpose2d, (_X, (4, 3, 3, 3), (3,)), options={"padding": 1}),
    Case(layers.conv_transpose2d, (_X, (4, 3, 3, 2)), options={"stride": 2, "padding": 1, "output_padding": 1}),
    Case(layers.conv_transpose2d, (_X, (4, 3, 2, 3), (6,)), options={"stride": (1, 2), "groups": 2, "dilation": 2}),
    Case(layers.conv_transpose2d, (_X, (4, 1, 4, 4)), options={"stride": 2, "padding": 1, "groups": 4}),
    Case(layers.upsample_bilinear2d, (_X,), options={"scale_factor": 2}),
    Case(layers.upsample_bilinear2d, (_X,), options={"size": (9, 4), "align_corners": True}),
    Case(layers.max_pool2d, (_X,), options={"kernel_size": 2}),
    Case(layers.max_pool2d, (_X,), options={"kernel_size": 3, "stride": 2, "padding": 1}),
    Case(layers.max_pool2d, (_X,), options={"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    Case(layers.avg_pool2d, (_X,), options={"kernel_size": 2}),
    Case(layers.avg_pool2d, (_X,), options={"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    Case(layers.avg_pool2d, (_X,), options={"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}),
    Case(layers.avg_pool2d, (_X,), options={"kernel_size": (3, 2), "stride": 1, "padding": 1}),
    Case(layers.global_avg_pool2d, (_X,)),
    Case(layers.adaptive_avg_pool2d, (_X,), options={"output_size": (4, 7)}),
    Case(layers.adaptive_avg_pool2d, (_X,), options={"output_size": 1}),
    Case(_batch_norm, (_X, (4,), (4,), (4,), (4,)), options={"training": True}),
    Case(_batch_norm, (_X, (4,), (4,), (4,), (4,)), options={"training": False}),
    Case(_batch_norm, ((8, 4), (4,), (4,), (4,), (4,)), options={"training": True}),
    Case(_bare_batch_norm, (_X,)),
    Case(_batch_norm_relu, (_X, (4,), (4,), (4,), (4,)), options={"training": True}),
    Case(_batch_norm_relu, (_X, (4,), (4,), (4,), (4,), _X), options={"training": True}),
    Case(_batch_norm_relu, (_X, (4,), (4,), (4,), (4,)), options={"training": False}),
    Case(_batch_norm_relu, (_X, (4,), (4,), (4,), (4,), _X), options={"training": False}),
    Case(_batch_norm_relu, ((8, 4), (4,), (4,), (4,), (4,), (8, 4)), options={"training": True}),
    Case(layers.linear, ((3, 5), (2, 5))),
    Case(layers.linear, ((3, 5), (2, 5), (2,))),
    Case(layers.flatten, (_X,)),
    Case(layers.dropout, (_X,), options={"p": 0.4, "rng": 3}),
    Case(layers.dropout, (_X,), options={"training": False}),
    Case(layers.group_norm, (_X,), options={"num_groups": 2}),
    Case(_group_norm, (_X, (4,), (4,)), options={"num_groups": 2}),
    Case(_group_norm, ((3, 6), (6,), (6,)), options={"num_groups": 3}),
    Case(layers.layer_norm, (_X,)),
    Case(layers.layer_norm, (_X, (4,), (4,))),
    Case(layers.layer_norm, (_X, (6, 5, 4), (6, 5, 4))),
    Case(layers.squeeze_excitation, (_X, (2, 4, 1, 1), (2,), (4, 2, 1, 1), (4,))),
    Case(layers.stochastic_depth, (_X,), options={"p": 0.4, "rng": 3}),
    Case(layers.stochastic_depth, (_X,), options={"p": 0.4, "training": False}),
    Case(layers.scale, (_X, ())),
    Case(layers.scale, (_X, (1,))),
    Case(layers.add, (_X, _X)),
    Case(layers.concat, (_X, (3, 6, 5, 2))),
    Case(layers.pad_shortcut, (_X,), options={"out_channels": 7}),
    Case(layers.pad_shortcut, (_X,), options={"out_channels": 8, "stride": 2}),
    Case(cross_entropy, ((5, 6),), (_LABELS,)),
    Case(cross_entropy, ((5, 6),), (_LABELS,), {"label_smoothing": 0.1}),
    Case(cross_entropy, ((5, 6),), (np.full((5, 6), 1 / 6),)),
    Case(_weighted_cross_entropy, ((5, 6), (6,)), (np.array([2, 0, -100, 4, 1], np.int32),), {"label_smoothing": 0.1}),
    Case(_weighted_cross_entropy, ((5, 6), (6,)), (np.full((5, 6), 1 / 6, np.float32),)),
    Case(distillation, ((5, 6),), (_LABELS, np.full((5, 6), 1 / 6, np.float32)), {"temperature": 4.0, "alpha": 0.9}),
    Case(log_mean_softmax, ((3, 5, 6),)),
    Case(temperature_scaling, ((5, 6), ())),
    Case(view_of, (_X,), options={"mirrored": True, "down": 1, "right": -2}),
    Case(mse_loss, (_X, _X)),
    Case(pixel_cross_entropy, ((2, 3, 2, 4),), (_MASKS,), {"label_smoothing": 0.1}),
    Case(sigmoid_focal_loss, ((5, 6),), (np.arange(30).reshape(5, 6) % 2,)),
    Case(sigmoid_focal_loss, ((5, 6),), (np.arange(30).reshape(5, 6) % 3 == 0,), {"alpha": None, "divisor": 3}),
    Case(_giou_loss, ((5, 2, 4), (5, 2, 4), (5, 2))),
    Case(margin, ((5, 6),), (_LABELS,)),
]

MODULES = {  # name: (what makes it, the shape of its input)
    "AdaptiveAvgPool2d": (lambda: layers.AdaptiveAvgPool2d((4, 2)), _X),
    "AvgPool2d": (lambda: layers.AvgPool2d(2), _X),
    "BatchNorm2d": (lambda: layers.BatchNorm2d(4), _X),
    "BatchNormReLU2d": (lambda: layers.BatchNormReLU2d(4), _X),
    "Conv2d": (lambda: layers.Conv2d(4, 7, 3, padding=1, rng=0), _X),
    "Conv2d of groups": (lambda: layers.Conv2d(4, 6, 3, 2, 1, groups=2, dilation=2, rng=0), _X),
    "ConvTranspose2d": (lambda: layers.ConvTranspose2d(4, 7, 3, 2, 1, 1, rng=0), _X),
    "Dropout": (lambda: layers.Dropout(0.5, rng=0), _X),
    "FCN": (lambda: segmentation.build("resnet8", 3, rng=0), (2, 8, 6, 3)),
    "Flatten": (layers.Flatten, _X),
    "GELU": (layers.GELU, _X),
    "GlobalAvgPool2d": (layers.GlobalAvgPool2d, _X),
    "GroupNorm": (lambda: layers.GroupNorm(2, 4), _X),
    "Hardswish": (layers.Hardswish, _X),
    "LayerNorm": (lambda: layers.LayerNorm(4), _X),
    "LeakyReLU": (layers.LeakyReLU, _X),
    "Linear": (lambda: layers.Linear(5, 3, rng=0), (4, 5)),
    "MaxPool2d": (lambda: layers.MaxPool2d(3, 2, 1), _X),
    "ReLU": (layers.ReLU, _X),
    "Scale": (lambda: layers.Scale(0.5), _X),
    "SiLU": (layers.SiLU, _X),
    "Sigmoid": (layers.Sigmoid, _X),
    "SqueezeExcitation": (lambda: layers.SqueezeExcitation(4, 2, rng=0), _X),
    "StochasticDepth": (lambda: layers.StochasticDepth(0.5, rng=0), _X),
    "Tanh": (layers.Tanh, _X),
    "UpsampleBilinear2d": (lambda: layers.UpsampleBilinear2d(scale_factor=1.5), _X),
    "Sequential": (lambda: Sequential(layers.Conv2d(4, 3, 1, bias=False, rng=0), layers.BatchNorm2d(3)), _X),
}


def _small_inception(rng):
    """A module of GoogLeNet, and a classifier that reads its inputs in PyTorch's order."""
    module = Inception(3, 2, 2, 3, 2, 2, 1, rng)
    return Sequential(module, layers.AdaptiveAvgPool2d(3), FlattenChannelsFirst(), layers.Linear(72, 10, rng=rng))


class FlattenChannelsFirst(Module):
    def forward(self, x):
        return flatten_channels_first(x)


MODELS = {  # name: (what makes it, the shape of its input)
    "resnet8-A": (lambda: resnet8(rng=0, shortcut="A"), (4, 8, 8, 3)),
    "resnet8-B": (lambda: resnet8(rng=0, shortcut="B"), (4, 8, 8, 3)),
    "resnet8-narrow": (lambda: narrow(resnet8(rng=0), (3, 20, 41)), (4, 8, 8, 3)),
    "plain8": (lambda: plain8(rng=0), (4, 8, 8, 3)),
    "simple_cnn": (lambda: simple_cnn(rng=0, image_size=12), (4, 12, 12, 3)),
    "densenet": (lambda: DenseNet((2, 1), 4, 6, 10, small_input=True, rng=0), (4, 8, 8, 3)),
    "inception": (lambda: _small_inception(np.random.default_rng(0)), (4, 8, 8, 3)),
}

OPTIMIZERS = {
    "SGD": lambda params: optim.SGD(params, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3, l1=1e-3),
    "Adam": lambda params: optim.Adam(params, 1e-3, weight_decay=1e-3),
    "AdamW": lambda params: optim.AdamW(params, 1e-3, decay_bias_and_norm=False),
    "RMSprop": lambda params: optim.RMSprop(params, 1e-3, momentum=0.9, centered=True),
    "LARS": lambda params: optim.LARS(params, 1.0, weight_decay=1e-3, l1=1e-3),
    "LAMB": lambda params: optim.LAMB(params, 1e-3, weight_decay=1e-3),
    "PruningSGD": lambda params: _pruning(list(params)),
}


def _pruning(params):
    weights = [parameter for parameter in params if parameter.data.ndim > 1]
    return PruningSGD(params, 0.1, momentum=0.9, pruned=weights, sparsity=gradual_sparsity(0.5, 3), every=1)


def _why_not():
    """Why there is no GPU, or an empty string."""
    try:
        resolve_device("gpu")
    except DeviceError as error:
        return str(error)
    return ""


_REASON = _why_not()
GPU = pytest.param("gpu", marks=[pytest.mark.gpu, pytest.mark.skipif(bool(_REASON), reason=_REASON)])  # of a fixture
LOSSES = {"cross_entropy", "distillation", "_weighted_cross_entropy", "mse_loss", "sigmoid_focal_loss", "_giou_loss"}
LOSSES |= {"pixel_cross_entropy", "margin"}
LOSSES |= {"log_mean_softmax", "temperature_scaling"}  # which sum in float32 or wider, too
WITH_PARAMETERS = {
    "conv2d",
    "conv_transpose2d",
    "linear",
    "_group_norm",
    "layer_norm",
    "scale",
    "squeeze_excitation",
    "_batch_norm",
    "_batch_norm_relu",
}


def half_inputs(case, name):
    """Inputs of an operation other than a loss, images in 16 bits and parameters in float32."""
    arrays = case.inputs(np.float32)
    first, among = arrays[0].shape, case.function.__name__ in WITH_PARAMETERS
    return [
        array if number >= len(case.shapes) or (among and number and array.shape != first) else array.astype(half(name))
        for number, array in enumerate(arrays)
    ]


def missing_cases():
    """Public operations, losses and layers that the tables above forget."""
    public = {name for name in layers.__all__ if not inspect.isclass(getattr(layers, name))}
    public |= set(losses.__all__)
    modules = {name for name in layers.__all__ if inspect.isclass(getattr(layers, name))}
    known = {case.function.__name__.removeprefix("_") for case in OPERATIONS}
    return (public - known) | (modules - set(MODULES))


def run_operation(case, dtype, device):
    """{what: array} of a forward and backward pass, all the function's inputs afterwards among them; no None."""
    arrays = [to_device(array, device) for array in case.inputs(dtype)]
    y, backward = case.function(*arrays, **case.options)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    gradients = backward(to_device(np.asarray(dy), device))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    after = {f"input {number} afterwards": array for number, array in enumerate(arrays)}
    gradients = {f"gradient {number}": array for number, array in enumerate(gradients) if array is not None}
    return {"y": y, **gradients, **after}


def run_module(make, shape, dtype, device, training=True):
    """{what: array} of a module's passes: y, dx, every parameter's gradient, every parameter and buffer."""
    module = make().to(np.dtype(dtype)).to(device).train(training)
    rng = np.random.default_rng(2)
    y, backward = module(to_device(rng.standard_normal(shape).astype(dtype), device))
    dx = backward(to_device(rng.standard_normal(y.shape).astype(dtype), device))
    return {"y": y, "dx": dx, **_inside(module)}


def run_training(make, shape, make_optimizer, dtype, device, steps=2, lean=False):
    """{what: array} of a few steps of training: each loss, then all that the model and the optimizer hold."""
    model = make().to(np.dtype(dtype)).to(device)
    optimizer = make_optimizer(model.parameters())
    rng = np.random.default_rng(3)
    arrays = {}
    for step in range(steps):
        x = to_device(rng.standard_normal(shape).astype(dtype), device)
        labels = to_device(rng.integers(0, 10, shape[0]), device)
        logits, backward = call(model, x, lean)
        arrays[f"loss {step}"], loss_backward = cross_entropy(logits, labels)
        optimizer.zero_grad()
        backward(loss_backward())
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    state = {
        f"{name} of {path}": array
        for path, parameter in model.named_parameters()
        for name, array in optimizer.state[parameter].items()
        if name != "step"
    }
    return {**arrays, **_inside(model), **state}


def run_optimizer(make_optimizer, dtype, device, steps=4):
    """{what: array} of steps with given gradients; half-way the optimizer is saved and loaded into a new one."""
    rng = np.random.default_rng(4)
    shapes = [(4, 3, 2, 2), (5, 4), (5,)]
    parameters = [Parameter(to_device(rng.standard_normal(shape).astype(dtype), device)) for shape in shapes]
    optimizer = make_optimizer(parameters)
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = to_device(rng.standard_normal(parameter.shape).astype(dtype), device)
        optimizer.step()
        if step == steps // 2:
            optimizer = make_optimizer(parameters).load_state_dict(optimizer.state_dict())
    arrays = {f"parameter {number}": parameter.data for number, parameter in enumerate(parameters)}
    for number, parameter in enumerate(parameters):
        state = optimizer.state[parameter]
        arrays |= {f"{name} {number}": array for name, array in state.items() if name != "step"}
    return arrays


def _inside(module):
    arrays = {f"d{path}": parameter.grad for path, parameter in module.named_parameters()}
    for path, inner in module.named_modules():
        for name, value in vars(inner).items():
            if isinstance(value, Parameter):
                arrays[f"{path}.{name}"] = value.data
            elif not isinstance(value, Module) and hasattr(value, "dtype"):
                arrays[f"{path}.{name}"] = value
    return arrays


def assert_same(run, *args, rtol, **options):
    """`run(..., device)` gives the same arrays on both devices, each on its own; rtol in units of the largest value."""
    on_cpu, on_gpu = run(*args, device="cpu", **options), run(*args, device="gpu", **options)
    assert on_cpu.keys() == on_gpu.keys()
    for what, want in on_cpu.items():
        got = on_gpu[what]
        assert device_of(want) == "cpu", f"{what} of the CPU's run came back as {type(want)}"
        assert device_of(got) == "gpu", f"{what} left the GPU: it came back as {type(got)}"
        assert got.dtype == want.dtype, f"{what} is {got.dtype} on the GPU, {want.dtype} on the CPU"
        assert got.shape == want.shape, f"{what} has shape {got.shape} on the GPU, {want.shape} on the CPU"
        scale = max(1.0, float(np.max(np.abs(want), initial=0)))
        np.testing.assert_allclose(to_numpy(got), want, rtol=rtol, atol=rtol * scale, err_msg=what)
