"""Which arrays operations take: float16, long doubles, foreign byte order, integers, read-only arrays."""

import re

import numpy as np
import pytest
from device_cases import LOSSES, OPERATIONS, WITH_PARAMETERS

CASES = {str(case): case for case in OPERATIONS}
LOSS = re.compile("loss|cross_entropy|distillation|margin")
IN_PLACE = "_batch_norm"  # the table's own wrappers prepare running_var in place


def run(case, inputs):
    """[y, gradients...] for a dy of ones."""
    y, backward = case.function(*inputs, **case.options)
    gradients = backward(np.ones(np.shape(y), y.dtype))
    return [y, *(gradients if isinstance(gradients, tuple) else [gradients])]


@pytest.mark.parametrize("name", CASES)
def test_float16_alone_is_right_or_refused(name):
    """Where there are parameters, which test_halves.py has in float32, and in losses, it is refused."""
    case = CASES[name]
    inputs = case.inputs(np.float16)
    inputs[len(case.shapes) :] = [
        array.astype(np.float16) if array.dtype.kind == "f" else array for array in case.others
    ]
    kind = case.function.__name__
    if kind in LOSSES:
        with pytest.raises(ValueError, match=r"float16 is too narrow to add numbers up in: convert with x.astype"):
            run(case, inputs)
        return
    if kind in WITH_PARAMETERS and len(case.shapes) > 1:
        with pytest.raises(ValueError, match="x is float16, its parameters float16: keep those in float32"):
            run(case, inputs)
        return
    large = [60_000 * np.tanh(array) if kind == "max_pool2d" else array for array in inputs]
    wide = [array.astype(np.float32) if array.dtype.kind == "f" else array for array in large]
    for half, single in zip(run(case, large), run(case, wide), strict=True):
        assert half.dtype == np.float16
        np.testing.assert_allclose(half, single, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "longdouble", "complex64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].function.__name__ != "flatten"])
def test_other_numbers_are_refused(name, dtype):
    case = CASES[name]
    if np.dtype(dtype).isnative and np.dtype(dtype) == np.float64:
        pytest.skip("a long double is a float64 here")
    inputs = [
        array.astype(dtype) if number < len(case.shapes) else array for number, array in enumerate(case.inputs(float))
    ]
    if IN_PLACE in case.function.__name__ and np.dtype(dtype).kind == "b":
        pytest.skip("the table's wrapper cannot prepare booleans")
    with pytest.raises(ValueError, match=r"(needs f|different dtypes).*(astype\(np.float32\)|astype or to)"):
        case.function(*inputs, **case.options)


@pytest.mark.parametrize("name", CASES)
def test_read_only_arrays_are_as_good_as_others(name):
    case = CASES[name]
    if IN_PLACE in case.function.__name__:
        pytest.skip("asked below")
    expected = run(case, case.inputs(np.float32))
    inputs = case.inputs(np.float32)
    for array in inputs:
        array.flags.writeable = False
    y, backward = case.function(*inputs, **case.options)
    dy = np.ones(np.shape(y), y.dtype)
    dy.flags.writeable = False
    gradients = backward(dy) if case.others == () else backward()
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for one, other in zip([y, *gradients], expected, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other)


GRADIENTS = {  # what may come from above, and the word for it
    "float64": (lambda dy: dy.astype(np.float64), ValueError, r"dy is float64, y float32: use dy.astype\(y.dtype\)"),
    "float16": (lambda dy: dy.astype(np.float16), ValueError, "dy is float16, y float32: use"),
    "whole numbers": (lambda dy: dy.astype(np.int32), ValueError, "dy is int32, y float32: use"),
    "foreign byte order": (
        lambda dy: dy.astype(">f4"),
        ValueError,
        "dy is float32 in foreign byte order, y float32: use",
    ),
    "masked": (lambda dy: np.ma.masked_array(dy), TypeError, "masked one, whose mask would be ignored"),
    "a list": (lambda dy: dy.tolist(), TypeError, r"(list|float): wrap it in np.asarray first"),
    "another shape": (lambda dy: dy[..., None], ValueError, r"dy has shape \(.*1,?\), y \(.*\): they must be equal"),
}


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("name", [name for name in CASES if not LOSS.search(name)])
def test_other_gradients_from_above_are_refused(name, kind):
    y, backward = CASES[name].function(*CASES[name].inputs(np.float32), **CASES[name].options)
    change, error, message = GRADIENTS[kind]
    with pytest.raises(error, match=message):
        backward(change(np.ones(y.shape, np.float32)))


@pytest.mark.parametrize("with_relu", [False, True])
def test_read_only_statistics(with_relu):
    from minires.layers import batch_norm, batch_norm_relu

    function = batch_norm_relu if with_relu else batch_norm
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    mean.flags.writeable = var.flags.writeable = False
    expected = function(x, mean.copy(), var.copy())[0]
    np.testing.assert_array_equal(function(x, mean, var)[0], expected)
    with pytest.raises(ValueError, match="running_mean or running_var is read-only, but training moves"):
        function(x, mean, var, training=True)
    assert (mean == 0).all() and (var == 1).all()
