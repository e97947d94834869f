"""The exercises: what is right passes, what is wrong gets the hint that fits, and no answer holds the solution."""

import ast
import dataclasses
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from minires import textbook
from minires.exercises import __main__ as command_line
from minires.exercises import folder
from minires.exercises.catalogue import EXERCISES
from minires.exercises.finding import Finding
from minires.exercises.generate import backward_body, exercise_file, source, with_backward
from minires.exercises.judge import judge as judge_source
from minires.exercises.language import Text, in_language
from minires.exercises.mistakes import MISTAKES, wrong_body
from minires.exercises.reading import Source
from minires.exercises.run import Run
from minires.exercises.structure import check_dtypes
from minires.exercises.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"en": ROOT / "docs" / "exercises.md", "zh": ROOT / "docs" / "zh" / "exercises.md"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")


def judge(exercise, path, more=False):
    """What the judge says of a file."""
    return judge_source(exercise, Source(str(path), Path(path).read_bytes()), more)


def answer(name, body, path="answer.py", more=False):
    """What the judge says of the exercise's file with these lines as its backward pass."""
    Path(path).write_text(
        with_backward(exercise_file(EXERCISES[name]), textwrap.dedent(body).strip()), encoding="utf-8"
    )
    return judge(EXERCISES[name], path, more)


def solution(name):
    return backward_body(source(EXERCISES[name]))


def solution_lines(name):
    """The lines of the textbook's backward pass, but for those that its forward pass has as well."""
    forward = source(EXERCISES[name]).split("    def backward")[0]
    lines = [line.strip() for line in solution(name).splitlines()]
    return [line for line in lines if line not in forward]


def said(found):
    return "\n".join(found["lines"])


def main(capsys, *arguments):
    """-> (exit code, stdout, stderr), in this process; the judge still has its own."""
    try:
        code = command_line.main(list(arguments))
    except SystemExit as exit:  # argparse
        code = exit.code
    return code, *capsys.readouterr()


# The files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_file_is_the_textbooks_but_for_the_backward_pass(name):
    text = exercise_file(EXERCISES[name])
    assert max(map(len, text.splitlines())) <= 120
    forward = source(EXERCISES[name]).split("    def backward")[0]
    assert forward in text
    assert not [line for line in solution_lines(name) if line in text]
    for gradient in EXERCISES[name].gradients:
        assert f"#   {gradient}, shaped as {gradient[1:]} (" in text
    assert f"docs/{EXERCISES[name].page}" in text


def test_every_function_of_the_textbook_is_an_exercise():
    functions = [name for name, value in vars(textbook).items() if inspect.isfunction(value)]
    assert sorted(functions) == sorted(EXERCISES) == sorted(MISTAKES)


@pytest.mark.parametrize("name", EXERCISES)
def test_untouched_file_is_not_written_yet(name):
    Path("answer.py").write_text(exercise_file(EXERCISES[name]), encoding="utf-8")
    found = judge(EXERCISES[name], "answer.py")
    assert found["state"] == "unwritten"
    line = int(re.search(r"line (\d+)", said(found))[1])
    assert "raise NotImplementedError" in Path("answer.py").read_text(encoding="utf-8").splitlines()[line - 1]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_textbooks_own_backward_pass_passes(name):
    found = answer(name, solution(name))
    assert found["state"] == "passed", said(found)


def test_other_ways_to_write_it_pass():
    """What the textbook does not have: other formulas, loops, means written as sums."""
    right = {
        "relu": "return np.where(x > 0, dy, 0)",
        "sigmoid": "e = np.exp(-x)\nreturn dy * e / (1 + e) ** 2",
        "tanh": "return dy / np.cosh(x) ** 2",
        "linear": "return np.einsum('no,oc->nc', dy, weight), np.einsum('no,nc->oc', dy, x), np.einsum('no->o', dy)",
        "softmax": """
            dlogits = np.zeros_like(logits)
            for n, row in enumerate(p):
                dlogits[n] = (np.diag(row) - np.outer(row, row)) @ dp[n]
            return dlogits
        """,
        "silu": "s = np.exp(x) / (1 + np.exp(x))\nreturn dy * (s + y * (1 - s))",
        "adaptive_avg_pool2d": """
            R, Q = np.zeros((OH, H), x.dtype), np.zeros((OW, W), x.dtype)
            for oh in range(OH):
                R[oh, rows[oh]] = 1 / len(range(H)[rows[oh]])
            for ow in range(OW):
                Q[ow, columns[ow]] = 1 / len(range(W)[columns[ow]])
            return np.einsum("ah,bw,nabc->nhwc", R, Q, dy)
        """,
        "avg_pool2d": "return np.repeat(np.repeat(dy, K, 1), K, 2) / (K * K)",
        "max_pool2d": """
            dx = np.zeros_like(x)
            for n, h, w, c in np.ndindex(y.shape):
                window = x[n, h * K : h * K + K, w * K : w * K + K, c]
                i, j = divmod(int(window.argmax()), K)
                dx[n, h * K + i, w * K + j, c] = dy[n, h, w, c]
            return dx
        """,
        "batch_norm": """
            M = dy.size // dy.shape[-1]
            dx_hat = dy * weight
            dvar = (dx_hat * (x - mean)).sum(axis=pixels) * -0.5 / std**3
            dmean = -(dx_hat / std).sum(axis=pixels)
            return dx_hat / std + dvar * 2 * (x - mean) / M + dmean / M, (dy * x_hat).sum((0, 1, 2)), dy.sum((0, 1, 2))
        """,
        "shard_mean": """
            dlogits = np.exp(x @ weight.T)
            dlogits /= dlogits.sum(axis=1, keepdims=True)
            dlogits[np.arange(N), labels] -= 1
            return dloss * dlogits @ weight / N, dloss * dlogits.T @ x / N
        """,
        "batch_norm_of_shards": """
            dx, x_hat, first = np.empty_like(x), (y - bias) / weight, 0
            for n in shards:
                s = slice(first, first + n)
                std = np.sqrt(x[s].var((0, 1, 2)) + 1e-5)
                two = dy[s].mean((0, 1, 2)) + x_hat[s] * (dy[s] * x_hat[s]).mean((0, 1, 2))
                dx[s] = weight / std * (dy[s] - two)
                first += n
            return dx, (dy * x_hat).sum((0, 1, 2)), dy.sum((0, 1, 2))
        """,
    }
    for name, body in right.items():
        found = answer(name, body)
        assert found["state"] == "passed", said(found)


@pytest.mark.parametrize(
    "body",
    [
        """
        while len(dy) > 1:
            pairs, odd = dy[: len(dy) // 2 * 2], dy[len(dy) // 2 * 2 :]
            dy = np.concatenate([pairs[::2] + pairs[1::2], odd])
        return dy[0]
        """,
        """
        dy, step = dy.copy(), 1
        while step < S:
            for s in range(0, S - step, 2 * step):
                dy[s] += dy[s + step]
            step *= 2
        return dy[0]
        """,
        """
        def tree(first, last):
            if last - first == 1:
                return dy[first]
            left = 1 << (last - first - 1).bit_length() - 1
            return tree(first + left, last) + tree(first, first + left)
        return tree(0, S)
        """,
        """
        terms = [*dy, *[np.zeros_like(weight)] * (16 - S)]
        for _ in range(4):
            terms = [a + b for a, b in zip(terms[::2], terms[1::2])]
        return terms[0]
        """,
    ],
    ids=["arrays", "strides", "from_the_top", "filled_up_with_zeros"],
)
def test_a_sum_in_its_order_passes_however_it_is_written(body):
    found = answer("broadcast", body)
    assert found["state"] == "passed" and "every bit" in said(found), said(found)


# The hints ----------------------------------------------------------------------------------------------------------


EVERY_MISTAKE = [(name, mistake) for name in MISTAKES for mistake in MISTAKES[name]]


def no_solution_in(found, name, body):
    """No line of the textbook's backward pass is in what was said, but for the names and the reader's own lines."""
    own = [line.strip() for line in body.splitlines()]
    text = "\n".join(line for line in found["lines"] if line.strip() not in own)
    for line in solution_lines(name):
        code = line.removeprefix("return ")
        only_names = re.fullmatch(r"\w+(, \w+)*|dx\w* \+ \w+", code)
        assert only_names or code not in text, f"{name}: the answer holds {code!r}"


@pytest.mark.parametrize("name, mistake", EVERY_MISTAKE, ids=lambda item: getattr(item, "key", item))
def test_each_known_mistake_gets_its_hint(name, mistake):
    body = wrong_body(EXERCISES[name], mistake)
    found = answer(name, body)
    assert found["state"] == "wrong"
    assert mistake.hint in said(found) or found["key"] == "shape", said(found)
    no_solution_in(found, name, body)


OTHER_NUMBERS = ("odd_one_lost", "one_level", "mean_over_shards", "first_shard", "last_shard")
ORDERS = [mistake for mistake in MISTAKES["broadcast"] if mistake.key not in OTHER_NUMBERS]


@pytest.mark.parametrize("mistake", ORDERS, ids=lambda mistake: mistake.key)
def test_only_the_bits_tell_one_order_from_another(mistake, monkeypatch):
    body = wrong_body(EXERCISES["broadcast"], mistake)
    found = answer("broadcast", body)
    assert found["key"] == mistake.key and " other bits in " in said(found), said(found)
    monkeypatch.setitem(EXERCISES, "broadcast", dataclasses.replace(EXERCISES["broadcast"], exact=False))
    assert answer("broadcast", body)["state"] == "passed"


def every_sum(terms):
    """Each way to set brackets: (said, sum)."""
    if len(terms) == 1:
        yield terms[0]
    for cut in range(1, len(terms)):
        for (left, a), (right, b) in product(every_sum(terms[:cut]), every_sum(terms[cut:])):
            yield f"({left}+{right})", a + b


def test_no_other_brackets_have_the_bits():
    exercise = EXERCISES["broadcast"]
    for case in exercise.cases:
        if case.sizes["S"] > 7:  # more than 132 ways
            continue
        run = Run(exercise.function, exercise, case, Source("", ""), np.float32)
        sums = list(every_sum(list(zip(map(str, range(len(run.dy))), run.dy, strict=True))))
        alike = [said for said, value in sums if np.array_equal(value, run.right()[0])]
        assert len(sums) == {6: 42, 7: 132}[len(run.dy)]
        assert alike == ["(((0+1)+(2+3))+((4+5)+6))" if len(run.dy) == 7 else "(((0+1)+(2+3))+(4+5))"], alike


def test_there_are_several_for_each():
    assert min(map(len, MISTAKES.values())) >= 4
    for name, mistakes in MISTAKES.items():
        assert len({mistake.key for mistake in mistakes}) == len(mistakes), name


RIGHT_LINEAR = "dx, dweight, dbias = dy @ weight, dy.T @ x, dy.sum(axis=0)\n"
HINTS = {  # made by hand, another way than the known mistakes are: (exercise, backward pass, key, what is said)
    "dbias_not_summed": ("linear", RIGHT_LINEAR + "return dx, dweight, dy", "shape", "sum over: N = 3 (axis 0 of"),
    "pixels_not_summed": (
        "batch_norm",
        "return x, (dy * x_hat).sum(0), dy.sum(0)",
        "shape",
        "Left to sum over: H = 4 and W = 6 (axes 0 and 1 of what was returned)",
    ),
    "dbias_wrong_axis": (
        "linear",
        "return dy @ weight, dy.T @ x, dy.sum(axis=1)",
        "shape",
        "Its axis is N: the sum ran over O, the axis that should stay.",
    ),
    "number": ("add", "return 1, 1", "shape", "dx1 is a plain number. A slope, perhaps"),
    "no_number": ("relu", "return (dy * (y > 0)).sum()", "shape", "0 axes in place of 2"),
    "input_of_another_shape": ("linear", "return weight, x, dy.sum(axis=0)", "shape", "dx is the array weight itself"),
    "input_among_others": ("batch_norm_relu", "return x, dy, dy, dy", "shape", "Left to sum over: N = 3"),
    "other_input": ("add", "return x2, x1", "input input", "dx1 is the array x2 itself: a slope that was not"),
    "inner_function": (
        "sigmoid",
        "return 2 * dy * y * (1 - y)",
        "constant",
        "2 times too large everywhere. Is a 1/2 missing, the derivative of an inner function perhaps?",
    ),
    "a_third": ("tanh", "return dy * (3 * y**2 - 3)", "constant", "and 3 times too large everywhere. Is a 1/3"),
    "a_square": ("tanh", "return dy * (1 - y**2) / 2", "constant", "Is a factor of 2 missing, the derivative of"),
    "dweight_transposed": ("linear", RIGHT_LINEAR + "return dx, dweight.T, dbias", "shape", "need to be transposed"),
    "weight_transposed": ("linear", "return dy @ weight.T, dy.T @ x, dy.sum(0)", "weight_transposed", "dy @ weight.T"),
    "order": ("linear", RIGHT_LINEAR + "return dweight, dx, dbias", "shape", "return dx, dweight, dbias"),
    "order_same_shape": ("batch_norm_relu", """
        dnormalised, dshortcut = add_backward(relu_backward(dy))
        dx, dweight, dbias = batch_norm_backward(dnormalised)
        return dx, dbias, dweight, dshortcut""", "order order", "right order?"),
    "keepdims": ("linear", RIGHT_LINEAR + "return dx, dweight, dbias[None]", "shape", "axes of length 1 too many"),
    "not_spread": ("global_avg_pool2d", "return dy[:, None, None]", "shape", "Spread it over axis 1 (H) and 2 (W)"),
    "summed_too_far": ("relu", "return (dy * (x > 0)).sum(axis=0)", "shape", "1 axis in place of 2"),
    "padding": ("im2col", """
        dpadded = np.zeros_like(padded)
        for i in range(K):
            for j in range(K):
                dpadded[:, i : i + stride * OH : stride, j : j + stride * OW : stride] += dpatches[:, :, :, i, j]
        return dpadded""", "shape", "padding has not been cut off"),
    "name": ("mse_loss", "return dloss * difference / M", "exception", "NameError: name 'M' is not defined"),
    "averaged": ("linear", RIGHT_LINEAR + "return dx, dweight / len(x), dbias", "mean_over_batch", "a mean"),
    "factor": ("linear", RIGHT_LINEAR + "return dx, dweight, dbias * len(x)", "constant", "3 is N here"),
    "two": ("tanh", "return 2 * dy * (1 - y**2)", "constant", "2 times too large"),
    "two_too_small": ("conv2d", """
        dY = dy.reshape(-1, O)
        dx = im2col_backward((dY @ weight_matrix.T).reshape(patches.shape))
        return dx / OW, (P.T @ dY).reshape(K, K, C, O).transpose(3, 2, 0, 1), dY.sum(axis=0)""",
        "constant", "10 is OW here"),
    "sign": ("sigmoid", "return -dy * y * (1 - y)", "sign", "wrong sign"),
    "zero": ("sigmoid", "return np.zeros_like(x)", "zero", "0 everywhere"),
    "without_dy": ("sigmoid", "return y * (1 - y)", "without_dy", "the same for any dy"),
    "without_dloss": ("cross_entropy", "return (np.exp(log_p) - one_hot) / N", "without_dy", "any dloss"),
    "mask_alone": ("relu", "return y > 0", "without_dy", "the same for any dy"),
    "squared": ("sigmoid", "return dy * dy * y * (1 - y)", "not_linear", "a backward pass is linear"),
    "first_image": ("batch_norm", """
        one = dy[:1] * x_hat[:1]
        std_dy = dy - dy.mean(axis=pixels) - x_hat * (dy * x_hat).mean(axis=pixels)
        return weight / std * std_dy, one.sum(axis=pixels), dy.sum(axis=pixels)""", "one_image", "first image"),
    "turned": ("conv2d", """
        dY = dy.reshape(-1, O)
        turned = weight[:, :, ::-1, ::-1].transpose(2, 3, 1, 0).reshape(-1, O)
        dx = im2col_backward((dY @ turned.T).reshape(patches.shape))
        return dx, (P.T @ dY).reshape(K, K, C, O)[::-1, ::-1].transpose(3, 2, 0, 1), dY.sum(axis=0)""",
        "kernel_turned dweight_turned", "turned by half a turn"),
    "constant_dy": ("global_avg_pool2d", "return np.broadcast_to(dy[:1, None, None] / (H * W), x.shape)", "constant_dy",
                    "read at the wrong places"),
    "mean_and_bias": ("batch_norm", """
        dx = weight / std * (dy - x_hat * (dy * x_hat).mean(axis=pixels))
        return dx, (dy * x_hat).sum(axis=pixels), dy.mean(axis=pixels)""", "mean_term dbias_mean", "dweight is right"),
    "shortcut": ("basic_block", """
        dy, dshortcut = add_backward(relu2_backward(dy))
        dy, dgamma2, dbeta2 = bn2_backward(dy)
        dy, dweight2, _ = conv2_backward(dy)
        dy, dgamma1, dbeta1 = bn1_backward(relu1_backward(dy))
        dx, dweight1, _ = conv1_backward(dy)
        return dx, dweight1, dgamma1, dbeta1, dweight2, dgamma2, dbeta2""", "shortcut_forgotten", "add up"),
    "eps_left_out": ("batch_norm", """
        m, dx_hat = x[..., 0].size, dy * weight
        dvar = (dx_hat * (x - mean)).sum(axis=pixels) * -0.5 * var**-1.5
        dmean = -(dx_hat / np.sqrt(var)).sum(axis=pixels)
        dx = dx_hat / np.sqrt(var) + dvar * 2 * (x - mean) / m + dmean / m
        return dx, (dy * x_hat).sum(axis=pixels), dy.sum(axis=pixels)""", "eps_left_out_everywhere", "but for eps"),
    "m_minus_1": ("batch_norm", """
        m, dx_hat = x[..., 0].size - 1, dy * weight
        dx = (dx_hat - dx_hat.sum(axis=pixels) / m - x_hat * (dx_hat * x_hat).sum(axis=pixels) / m) / std
        return dx, (dy * x_hat).sum(axis=pixels), dy.sum(axis=pixels)""", "m_minus_1", "biased one"),
    "weight_twice": ("batch_norm", """
        dx_hat = dy * weight
        dx = weight / std * (dx_hat - dx_hat.mean(axis=pixels) - x_hat * (dx_hat * x_hat).mean(axis=pixels))
        return dx, (dy * x_hat).sum(axis=pixels), dy.sum(axis=pixels)""", "weight_twice", "weight twice"),
    "n_times_h": ("batch_norm", """
        m = x.shape[0] * x.shape[1]
        dx = weight / std / m * (m * dy - dy.sum(axis=pixels) - x_hat * (dy * x_hat).sum(axis=pixels))
        return dx, (dy * x_hat).sum(axis=pixels), dy.sum(axis=pixels)""", "divided_by_rows", "N * H: a channel's mean"),
    "nearly": ("tanh", "return dy * (1 - y * y) * 1.00001", "nearly", "off by 1e-05 of its size only"),
    "minus_a_boolean": ("cross_entropy", "return dloss * (np.exp(log_p) + -one_hot) / N", "exception", "1.0 * mask"),
    "minus_the_label": ("cross_entropy", """
        p = np.exp(log_p)
        return dloss * (p - labels[:, None]) / len(p)""", "label_subtracted", "as a number"),
    "softmax_over_images": ("cross_entropy", """
        p = np.exp(logits) / np.exp(logits).sum(axis=0)
        return dloss * (p - one_hot) / N""", "over_images_logits", "over the classes of one image"),
    "not_divided": ("cross_entropy", "return dloss * (np.exp(logits) - one_hot) / N", "not_normalised", "add up to 1"),
    "slope_of_log": ("cross_entropy", """
        p, dlogits = np.exp(log_p), np.zeros_like(logits)
        dlogits[np.arange(N), labels] = -dloss / p[np.arange(N), labels] / N
        return dlogits""", "slope_of_log", "goes on through the softmax"),
    "three_fifths": ("softmax", "return p * (dp - (dp * p).sum(axis=1, keepdims=True)) * 3 / 5", "constant",
                     "5/3 times too small everywhere."),
    "ratio": ("mse_loss", "d = dloss * 2 * difference / len(difference) ** 2\nreturn d, -d", "constant constant",
              "5/3 is C / N here"),
    "not_transposed": ("conv2d", """
        dY = dy.reshape(-1, O)
        dx = im2col_backward((dY @ weight_matrix.T).reshape(patches.shape))
        return dx, (P.T @ dY).reshape(weight.shape), dY.sum(axis=0)""", "dweight_reshaped", "without a transpose"),
    "overwritten": ("conv2d", """
        dY = dy.reshape(-1, O)
        H, W = x.shape[1:3]
        dp = np.zeros((N, H + 2 * padding, W + 2 * padding, C))
        d = (dY @ weight_matrix.T).reshape(patches.shape)
        for h, w in np.ndindex(OH, OW):
            dp[:, h * stride : h * stride + K, w * stride : w * stride + K] = d[:, h, w]
        dx = dp[:, padding : padding + H, padding : padding + W]
        return dx, (P.T @ dY).reshape(K, K, C, O).transpose(3, 2, 0, 1), dY.sum(axis=0)""",
        "overwritten_by_windows", "only the last has left"),
    "dweight_over_n": ("conv2d", """
        dY = dy.reshape(-1, O)
        dx = im2col_backward((dY @ weight_matrix.T).reshape(patches.shape))
        return dx, (P.T @ dY).reshape(K, K, C, O).transpose(3, 2, 0, 1) / len(x), dY.sum(axis=0)""",
        "dweight_over_batch", "divided by N"),
    "ties": ("max_pool2d", """
        big = np.repeat(np.repeat(y, K, 1), K, 2)
        return np.repeat(np.repeat(dy, K, 1), K, 2) * (x == big)""", "all_equal", "many equal pixels"),
    "shards_alike": ("shard_mean", """
        parts = [linear_backward(loss_backward(dloss)) for _, loss_backward, linear_backward in passes]
        dx, dweight, _ = zip(*parts)
        return np.concatenate(dx) / len(parts), np.mean(dweight, axis=0)""",
        "counted_alike counted_alike", "Every shard counts alike"),
    "shards_summed": ("shard_mean", """
        p = np.exp(x @ weight.T)
        dlogits = dloss * (p / p.sum(axis=1, keepdims=True) - np.eye(len(weight))[labels])
        return dlogits @ weight / N, dlogits.T @ x""", "sum_over_images", "n times the mean over a shard is the sum"),
    "shards_dloss": ("shard_mean", """
        parts = [(n, *linear_backward(loss_backward(1.0))) for n, loss_backward, linear_backward in passes]
        return np.concatenate([n / N * dx for n, dx, _, _ in parts]), sum(n / N * dw for n, _, dw, _ in parts)""",
        "without_dy without_dy", "the same for any dloss"),
    "numpys_sum": ("broadcast", "return dy.sum(axis=0)", "left_to_right", "as sum() and .sum(axis=0) make it"),
    "exact_sum": ("broadcast", """
        import math
        sums = [math.fsum(dy[:, i, j]) for i, j in np.ndindex(weight.shape)]
        return np.reshape(sums, weight.shape).astype(weight.dtype)""", "in_float64", "nearer to the exact sum"),
    "zip": ("broadcast", """
        while len(dy) > 1:
            dy = [a + b for a, b in zip(dy[::2], dy[1::2])]
        return dy[0]""", "odd_one_lost", "it has no neighbour, and zip"),
    "an_order_of_ones_own": ("broadcast", "return dy[1] + (dy[0] + dy[2:].sum(axis=0))", "bits", "and none that is"),
    "not_summed": ("broadcast", "return dy", "shape", "Left to sum over: S = 7"),
    "side_by_side": ("batch_norm_of_shards", """
        parts = [backward_s(dy_s) for (_, backward_s), dy_s in zip(passes, np.split(dy, ends))]
        return tuple(np.concatenate(of_all) for of_all in zip(*parts))""",
        "shape", "Those of 3 shards stand one after the other"),
    "added_into_dy": ("broadcast", """
        terms = list(dy)
        while len(terms) > 1:
            for i in range(0, len(terms) - 1, 2):
                terms[i] += terms[i + 1]
            terms = terms[::2]
        return terms[0]""", "dy_changed", "or on a view of it"),
    "a_queue": ("broadcast", """
        terms = list(dy)
        while len(terms) > 1:
            terms.append(terms.pop(0) + terms.pop(0))
        return terms[0]""", "odd_one_first", "in front of the sums"),
    "batchs_statistics": ("batch_norm_of_shards", """
        x_hat = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
        dx = dy - dy.mean((0, 1, 2)) - x_hat * (dy * x_hat).mean((0, 1, 2))
        return weight / np.sqrt(x.var((0, 1, 2)) + 1e-5) * dx, (dy * x_hat).sum((0, 1, 2)), dy.sum((0, 1, 2))""",
        "statistics_of_the_batch statistics_of_the_batch", "what does a pixel do to the images of another shard?"),
    "shards_weighted": ("batch_norm_of_shards", """
        parts = [backward_s(dy_s) for (_, backward_s), dy_s in zip(passes, np.split(dy, ends))]
        dweight, dbias = (sum(n * part[i] for n, part in zip(shards, parts)) / len(x) for i in (1, 2))
        return np.concatenate([part[0] for part in parts]), dweight, dbias""",
        "weighted_by_share weighted_by_share", "weighted by each shard's share"),
    "shards_kept": ("batch_norm_of_shards", """
        parts = [backward_s(dy_s) for (_, backward_s), dy_s in zip(passes, np.split(dy, ends))]
        dx, dweight, dbias = zip(*parts)
        return np.concatenate(dx), np.array(dweight), np.array(dbias)""",
        "shape", "Left to sum over: S = 3"),
    "dy_changed": ("relu", "dy *= x > 0\nreturn dy", "dy_changed", "changed in place"),
    "x_changed": ("relu", "x[x < 0] = 0\nreturn dy * (x > 0)", "input_changed", "changed x in place"),
    "y_changed": ("sigmoid", "dx = dy * y * (1 - y)\ny[...] = 0\nreturn dx", "y_changed", "forward pass's result"),
    "two_calls": ("relu", "return dy * (np.random.default_rng().random(y.shape) > 0.5)", "two_calls", "different dx"),
    "nan": ("relu", "return dy * (x / np.maximum(x, 0)) * (y > 0)", "nan", "not finite"),
    "none": ("relu", "dx = dy * (y > 0)", "none", "returned None"),
    "gradient_none": ("add", "return dy, None", "gradient_none", "dx2 is None"),
    "not_a_tuple": ("add", "return dy", "not_a_tuple", "a tuple of 2 gradients, (dx1, dx2)"),
    "tuple_of_one": ("relu", "return dy * (y > 0),", "tuple_of_one", "dx itself"),
    "wrong_count": ("linear", "return dy @ weight, dy.T @ x", "wrong_count", "2 gradients: it must return 3"),
    "not_an_array": ("relu", "return 'dx'", "not_an_array", "is a str"),
    "ragged": ("relu", "return {1: [2]}", "not_an_array", "is a dict"),
    "dtype": ("relu", "dx = np.zeros(x.shape)\ndx[...] = dy * (y > 0)\nreturn dx", "dtype", "float64 where float32"),
    "exception": ("relu", "mask = y > 0\nreturn dy * mask.wrong", "exception", "line 17:\n  return dy * mask.wrong"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # as the judge has it
@pytest.mark.parametrize("case", HINTS)
def test_hint(case):
    name, body, key, text = HINTS[case]
    found = answer(name, body)
    assert (found["state"], found["key"]) == ("wrong", key), said(found)
    assert text in said(found), said(found)
    no_solution_in(found, name, textwrap.dedent(body))


def test_a_sum_in_whatever_order_the_machine_multiplies_matrices():
    sums = "sums = np.ones(S, dy.dtype) @ dy.reshape(S, -1)\nreturn sums.reshape(weight.shape)"
    found = answer("broadcast", sums)
    order = {"bits": "and none that is known here", "left_to_right": "a sum from left to right"}
    assert found["state"] == "wrong" and order[found["key"]] in said(found), said(found)


def test_a_mistake_nobody_knows():
    found = answer("tanh", "return dy * (1 - y**4)")
    assert found["key"] == "unknown"
    assert "12 of 12 elements" in said(found) and "docs/layers/activations.md has an example by hand" in said(found)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_example_by_hand_is_there(name):
    page = (ROOT / "docs" / EXERCISES[name].page).read_text(encoding="utf-8")
    assert EXERCISES[name].page in EXERCISES[name].by_hand
    assert re.search(r"^## By hand$", page, re.M)


BLOCK = """
dy, dshortcut = add_backward({last}(dy))
dy, dgamma2, dbeta2 = bn2_backward(dy)
dy, dweight2, _ = conv2_backward(dy)
dy, dgamma1, dbeta1 = bn1_backward(relu1_backward(dy))
dx, dweight1, _ = conv1_backward(dy)
return dx + dshortcut, dweight1, dgamma1, dbeta1, dweight2, dgamma2, dbeta2
"""


@pytest.mark.parametrize("last", ["", "np.abs", "2 * relu2_backward", "np.sin"])  # a known one, others, and none
def test_no_hint_is_given_seven_times(last):
    found = answer("basic_block", BLOCK.format(last=last))
    hints = [line.strip() for line in found["lines"] if line.startswith("  Hint: ")]
    assert len(found["key"].split()) == 7  # all seven are wrong
    assert len(set(hints)) == len(hints) == 1, said(found)
    assert sum(" is wrong in " in line for line in found["lines"]) == 7


# The second hint ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_second_hint(name):
    """For whoever has written nothing, made a known mistake, or whose file does not run: numbers, no code."""
    exercise = EXERCISES[name]
    bodies = ["raise NotImplementedError", wrong_body(exercise, MISTAKES[name][0]), "return nothing"]
    for body in bodies:
        found = answer(name, body, more=True)
        first = answer(name, body)
        lines = found["lines"][len(first["lines"]) :]
        assert found["lines"][: len(first["lines"])] == first["lines"] and found["key"] == first["key"]
        assert lines[0] == "One hint further." and any(line.startswith("  A small case: ") for line in lines)
        wrong = [gradient for gradient in exercise.gradients if f"\n{gradient} is wrong" in said(first)]
        for gradient in exercise.gradients:
            assert any(re.match(rf"  {gradient}: right is ", line) for line in lines) == (
                gradient in (wrong or exercise.gradients)
            )
        assert max(map(len, lines)) < 700, "too long for a hint"
        no_solution_in(found, name, body)


def test_second_hint_has_the_readers_numbers():
    """By hand: relu of (1, -1.5, 1), and linear's dweight, which is a sum over the two rows."""
    lines = answer("relu", "return dy * y", more=True)["lines"]
    assert "  A small case: x = [1.0, -1.5, 1.0]; y = [1.0, 0.0, 1.0]; dy = [-0.7, -0.2, 1.7]" in lines
    lines = answer("linear", "return dy @ weight, dy.T @ x * 2, dy.sum(axis=0)", more=True)["lines"]
    case = next(line for line in lines if "A small case" in line)
    x, dy = (np.array(ast.literal_eval(re.search(rf" {name} = (.*?)(;|$)", case)[1])) for name in ("x", "dy"))
    right, yours = re.search(r"dweight: right is (.*), yours (.*)", lines[-1]).groups()
    np.testing.assert_allclose(ast.literal_eval(right), dy[0] * x[0] + dy[1] * x[1], rtol=1e-3)
    np.testing.assert_allclose(ast.literal_eval(yours), 2 * (dy[0] * x[0] + dy[1] * x[1]), rtol=1e-3)


def test_second_hint_of_a_sum_shows_every_bit():
    """By hand: tenths are not exact in binary, so another order ends with another number."""
    lines = answer("broadcast", "return sum(dy)", more=True)["lines"]
    dy = ast.literal_eval(re.search(r" dy = (\[.*?\])$", next(line for line in lines if "A small case" in line))[1])
    right, yours = map(float, re.search(r"dweight: right is (.*), yours (.*)", lines[-1]).groups())
    assert right == ((dy[0] + dy[1]) + (dy[2] + dy[3])) + dy[4]
    assert yours == (((dy[0] + dy[1]) + dy[2]) + dy[3]) + dy[4] != right


def test_second_hint_on_the_command_line(capsys):
    write("relu", "return dy")
    for arguments in (("relu",), ("exercises/relu.py",)):
        code, out, _ = main(capsys, "check", *arguments)
        assert code == 1 and "One hint further: python -m minires.exercises check relu --more" in out
        assert "A small case" not in out
        code, out, _ = main(capsys, "check", "--more", *arguments)
        assert code == 1 and "A small case: x = " in out and "One hint further:" not in out
    write("relu", solution("relu"))
    code, out, _ = main(capsys, "check", "relu", "--more")
    assert code == 0 and "small case" not in out


def test_gradcheck_has_the_last_word(monkeypatch):
    """Were the textbook itself wrong, a file just like it would not pass."""
    wrong = MISTAKES["tanh"][0]
    namespace = {"np": np}
    exec(with_backward(source(EXERCISES["tanh"]), wrong_body(EXERCISES["tanh"], wrong)), namespace)
    text = with_backward(exercise_file(EXERCISES["tanh"]), wrong_body(EXERCISES["tanh"], wrong))
    monkeypatch.setattr(textbook, "tanh", namespace["tanh"])
    Path("answer.py").write_text(text, encoding="utf-8")
    assert judge(EXERCISES["tanh"], "answer.py")["key"] == "gradcheck"


FILES = {  # a whole file: (text, key, what is said)
    "syntax": ("def relu(x:\n    pass\n", "syntax", "line 1"),
    "import": ("import no_such_thing\n", "exception", "line 1"),
    "empty": ("", "no_function", "no function relu"),
    "exit": ("import sys\nsys.exit()\n", "exit", "sys.exit"),
    "one_thing": ("def relu(x):\n    return x\n", "not_y_backward", "ndarray"),
    "called": ("def relu(x):\n    return x, x\n", "not_y_backward", "two things"),
    "forward": ("def relu(x):\n    return abs(x), lambda dy: dy\n", "forward", "start relu --again"),
    "forward_error": ("def relu(x):\n    return x.no\n", "exception", "line 2"),
    "forward_changes": (
        "def relu(x):\n    x[x < 0] = 0\n    return x, None.__class__\n",
        "input_changed",
        "forward pass",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_broken(case):
    text, key, words = FILES[case]
    Path("answer.py").write_text(text, encoding="utf-8")
    found = judge(EXERCISES["relu"], "answer.py")
    assert (found["state"], found["key"]) == ("wrong", key), said(found)
    assert words in said(found)


def test_dtype_is_asked_of_every_gradient():
    right = {name: np.zeros((3, 4), np.float32) for name in ("dx1", "dx2")}
    check_dtypes(list(right.values()), right)
    with pytest.raises(Finding, match="dtype"):
        check_dtypes([right["dx1"], np.zeros((3, 4))], right)


# The command line ---------------------------------------------------------------------------------------------------


def write(name, body):
    Path("exercises").mkdir(exist_ok=True)
    text = with_backward(exercise_file(EXERCISES[name]), textwrap.dedent(body).strip())
    folder.file_of(name).write_text(text, encoding="utf-8")


def test_from_any_folder():
    """As a reader runs it: with the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "minires.exercises", "start", "conv2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (2, "") and "did you mean 'conv2d'? " in done.stderr


def test_nobody_reads_on():
    """As with `| head -5`: no traceback, also where the pipe is closed before the first line."""
    reading, writing = os.pipe()
    os.close(reading)
    command, environment = [sys.executable, "-m", "minires.exercises"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_list_start_check(capsys):
    code, out, _ = main(capsys)
    assert code == 0 and f"0 of {len(TASKS)} done. Next: python -m minires.exercises start predict_relu" in out
    assert main(capsys, "start", "relu")[0] == 0
    assert Path("exercises/relu.py").read_text(encoding="utf-8") == exercise_file(EXERCISES["relu"])
    code, out, _ = main(capsys, "check", "relu")
    assert code == 1 and "not written yet" in out
    write("relu", solution("relu"))
    assert re.search(r"relu +started", main(capsys, "list")[1])
    code, out, _ = main(capsys, "check")
    assert code == 0 and "relu: passed" in out and "start predict_sigmoid" in out and "solution relu" in out
    code, out, _ = main(capsys, "list")
    assert re.search(r"relu +done", out) and f"1 of {len(TASKS)} done" in out


def test_what_comes_next_after_a_pass(capsys, monkeypatch):
    """One that is started is to be checked, one that is done is behind."""
    passes = {"state": "passed", "verdict": "passed", "lines": [], "printed": ""}
    monkeypatch.setattr("minires.exercises.__main__.check_in_process", lambda *_: passes)
    last, but_last = [*TASKS][-1:-3:-1]
    write("relu", solution("relu"))
    start("predict_sigmoid")
    assert "Next: python -m minires.exercises check predict_sigmoid (docs/" in main(capsys, "check", "relu")[1]
    Path("exercises/predict_sigmoid.py").write_text(TASKS["predict_sigmoid"].solved(), encoding="utf-8")
    assert folder.checked("predict_sigmoid", folder.file_of("predict_sigmoid"), "passed")
    assert "Next: python -m minires.exercises start sigmoid (docs/" in main(capsys, "check", "relu")[1]
    start(last)
    start(but_last)
    assert "That was the last one" in main(capsys, "check", last)[1]
    assert "All that follow are done, too: python -m minires.exercises list" in main(capsys, "check", but_last)[1]


def start(name):
    folder.start(TASKS[name])


def test_done_means_this_very_file(capsys):
    write("relu", solution("relu"))
    assert folder.checked("relu", Path("exercises/relu.py"), "passed")
    assert folder.states()["relu"] == "done"
    write("relu", "return dy")
    assert folder.states()["relu"] == "started"
    folder.PASSED.write_text("[not json", encoding="utf-8")
    assert main(capsys, "list")[0] == 0


def test_what_passed_in_an_earlier_version_is_done():
    write("relu", solution("relu"))
    digest = hashlib.sha256(folder.file_of("relu").read_bytes()).hexdigest()
    folder.PASSED.write_text(json.dumps({"relu": digest, "none": digest}), encoding="utf-8")
    assert folder.states()["relu"] == "done" and "none" not in folder.states()
    write("relu", "return dy")
    assert folder.states()["relu"] == "started"


def test_a_full_disk_takes_no_exercise_back(capsys):
    resource = pytest.importorskip("resource")
    write("relu", solution("relu"))
    write("sigmoid", solution("sigmoid"))
    assert folder.checked("relu", Path("exercises/relu.py"), "passed")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))  # bytes: half of a line
    try:
        written = folder.checked("sigmoid", Path("exercises/sigmoid.py"), "passed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not written
    assert folder.states()["relu"] == "done"
    assert sorted(path.name for path in folder.FOLDER.iterdir()) == ["progress.json", "relu.py", "sigmoid.py"]


def test_nothing_is_overwritten(capsys):
    write("relu", "return 'mine'")
    mine = Path("exercises/relu.py").read_text(encoding="utf-8")
    code, _, err = main(capsys, "start", "relu")
    assert code == 2 and "exercises/relu.py" in err and "--again" in err
    assert Path("exercises/relu.py").read_text(encoding="utf-8") == mine
    for number in (1, 2):
        code, out, _ = main(capsys, "start", "relu", "--again")
        assert code == 0 and f"relu.old{number}.py" in out
    assert Path("exercises/relu.old1.py").read_text(encoding="utf-8") == mine
    assert Path("exercises/relu.old2.py").read_text(encoding="utf-8") == exercise_file(EXERCISES["relu"])
    code, out, _ = main(capsys, "check", "exercises/relu.old1.py")
    assert code == 1 and "is a str" in out


def test_what_cannot_be_done(capsys):
    for arguments in (
        ("start", "conv2"),
        ("check", "conv2"),
        ("check", "nowhere/relu.py"),
        ("check", "relu"),
        ("check",),
    ):
        code, out, err = main(capsys, *arguments)
        assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    for arguments in (("star",), ("start",), ("check", "--seconds", "many"), ("check", "--seconds", "0")):
        code, out, err = main(capsys, *arguments)
        assert (code, out) == (2, "") and err.count("\n") == 1
    Path("exercises").write_text("", encoding="utf-8")
    code, _, err = main(capsys, "start", "relu")
    assert code == 2 and "is a file" in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_of_the_system(capsys):
    Path("exercises").mkdir(mode=0o500)
    code, _, err = main(capsys, "start", "relu")
    assert code == 2 and "may write in" in err


def test_no_permission(capsys, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    write("relu", solution("relu"))
    monkeypatch.setattr(os, "replace", refused)
    code, out, _ = main(capsys, "check", "relu")
    assert code == 0 and "passed" in out and "cannot be written" in out
    monkeypatch.setattr(Path, "mkdir", refused)
    code, _, err = main(capsys, "start", "sigmoid")
    assert code == 2 and "Permission denied" in err


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("relu", "if dy > 0:\n    return dy", "np.where"),
        ("sigmoid", "return dy * sigmoid(x) * (1 - sigmoid(x))", "gives two things"),
        ("sigmoid", "s = sigmoid(x)\nreturn dy * s", "gives two things"),
    ],
)
def test_what_an_exception_means(capsys, name, body, said):
    write(name, body)
    code, out, _ = main(capsys, "check", name)
    assert code == 1 and said in out


def test_a_file_that_is_no_text(capsys):
    write("relu", "return dy")
    folder.file_of("relu").write_bytes(b"\xff\xfe\x00bad")
    code, out, _ = main(capsys, "check", "relu")
    assert code == 1 and "UTF-8" in out and "None" not in out


def test_a_file_that_cannot_be_read(capsys, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    write("relu", solution("relu"))
    monkeypatch.setattr(Path, "read_bytes", refused)
    code, out, _ = main(capsys, "list")
    assert code == 0 and re.search(r"relu +started", out)


def test_inside_the_folder(capsys, monkeypatch):
    write("relu", "return dy")
    monkeypatch.chdir("exercises")
    code, _, err = main(capsys, "start", "relu")
    assert code == 2 and "one folder up" in err and not Path("exercises").exists()


def test_a_loop_without_an_end(capsys):
    write("relu", "while True:\n    print('noise')")
    code, out, _ = main(capsys, "check", "relu", "--seconds", "1")
    assert code == 1 and "Not finished after 1 s:" in out
    assert re.search(r"It was in line \d+:\n\s+(while True:|print\('noise'\))\n", out)
    assert out.count("| noise") == 10 and "| ..." in out


def test_a_file_that_ends_the_process(capsys):
    write("relu", "import os\nos._exit(0)")
    code, out, _ = main(capsys, "check", "relu")
    assert code == 1 and "without an answer" in out


def test_noise_does_no_harm(capsys):
    write("relu", 'print(\'{"state": "passed"}\')\nreturn dy')
    code, out, _ = main(capsys, "check", "relu")
    assert code == 1 and "not right yet" in out and '| {"state"' in out


def test_colours_on_a_terminal_only(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\033" not in main(capsys, "list")[1]
    write("relu", "return dy")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "\033[33mstarted\033[0m" in main(capsys, "list")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in main(capsys, "list")[1]


# The page -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", PAGES)
def test_the_pages_table(language):
    text = PAGES[language].read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) \| \[.*?\]\((.*?)\) \|$", text, re.M)
    lines = [in_language(Text(exercise.line), language) for exercise in EXERCISES.values()]
    wanted = [
        (str(n), e.name, line, e.page) for n, (e, line) in enumerate(zip(EXERCISES.values(), lines, strict=True), 1)
    ]
    assert rows == wanted


@pytest.mark.parametrize("language", PAGES)
def test_the_pages_sessions(capsys, language):
    """Their commands print what they say, with the backward passes and the answers between them put into the files."""
    text = PAGES[language].read_text(encoding="utf-8")
    commands = 0
    for kind, block in re.findall(r"^```(console|python)\n(.*?)^```$", text, re.M | re.S):
        if kind == "python" and block.startswith("def backward"):
            body = "\n".join(line[4:] for line in block.splitlines()[1:])
            write("relu", body)
            ast.parse(folder.file_of("relu").read_text(encoding="utf-8"))
        elif kind == "console":
            for command, printed in re.findall(
                r"^\$ python -m minires\.exercises (.*)\n((?:[^$\n].*\n|\n)*)", block, re.M
            ):
                commands += 1
                put_in_the_answer(printed)
                assert main(capsys, *command.split())[1].strip() == printed.strip()
    assert commands >= 9


def put_in_the_answer(printed):
    """What the page's reader has said, of which the page shows what is printed then."""
    for pattern, name, variable in (
        (r"Line (\d+) is ", "find_linear", "wrong_line"),
        (r"  (\[.*\]) is not what comes out", "predict_softmax", "answer"),
    ):
        if said := re.search(pattern, printed):
            text = folder.file_of(name).read_text(encoding="utf-8")
            folder.file_of(name).write_text(re.sub(rf"(?m)^{variable} = \S+(?=  #)", f"{variable} = {said[1]}", text))


@pytest.mark.parametrize("language", PAGES)
def test_the_pages_files(language):
    """What it shows of a file stands in it."""
    text = PAGES[language].read_text(encoding="utf-8")
    shown = [block for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if not kind]
    files = [TASKS[name].file() for name in ("relu", "find_linear", "predict_softmax")]
    assert len(shown) == len(files)
    for block, file in zip(shown, files, strict=True):
        assert all(part.strip("\n") in file for part in block.split("\n\n"))
