"""Does a network know how sure it may be? Calibration error, and the temperature that mends most of it.

reliability(probabilities, labels)           of images about which it is 80 % sure: how many are right?
expected_calibration_error(...)              how far it is off, in one number
temperature_scaling(logits, temperature)     y = logits / temperature, an operation
fit_temperature(logits, labels)              the temperature under which labels of held-out images are likeliest

Derivation: docs/ensembles.md.
"""

import math
from dataclasses import dataclass

import numpy as np

from minires.backend import array_module
from minires.layers.checks import check_float, check_gradient, check_not_empty, check_wide
from minires.module import Module
from minires.types import Array, Backward

# How sure, and how often right --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Of images in bins of confidence: how many there are, how sure the network is, how many are right.

    edges (B + 1,): bin b holds confidences above edges[b], up to edges[b + 1].   counts (B,): images in each.
    confidence, accuracy (B,): their means; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """ECE = sum over b of  counts[b] / N * |accuracy[b] - confidence[b]|,  without the empty bins."""
        gap = np.where(self.counts > 0, np.abs(self.accuracy - self.confidence), 0)
        return float((self.counts * gap).sum() / self.counts.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """The images sorted into `bins` equal bins by their confidence, the largest of their probabilities.

    probabilities (N, classes), rows that sum to 1; labels: integers (N,); NumPy arrays.
    Raises ValueError for shapes that do not fit, rows that are no probabilities, labels that are no class, no image,
    and less than one bin.   Source: Niculescu-Mizil, Caruana 2005 (the diagram); Guo et al. 2017, section 2.
    """
    probabilities = np.asarray(probabilities, np.float64)
    labels = _checked_labels("reliability", probabilities, labels)
    if bins < 1:
        raise ValueError(f"reliability: bins is {bins}, expected at least 1: 15 is usual")
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("reliability: rows of probabilities must be from 0 up and sum to 1: give softmax of logits")
    sureness, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    at = np.clip(np.ceil(sureness * bins).astype(np.intp) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = (np.bincount(at, values, bins) / counts for values in (sureness, right))
    return Reliability(edges, counts, confidence, accuracy)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """ECE = sum over bins of  (images in the bin) / N * |share of them that is right - mean confidence|

    Arguments and errors: as in `reliability`.   Source: Naeini et al. 2015; Guo et al. 2017, equation 5.
    """
    return reliability(probabilities, labels, bins).error


def _checked_labels(name, rows, labels):
    labels = np.asarray(labels)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu":
        got = f"{rows.shape} and {labels.dtype} of shape {labels.shape}"
        raise ValueError(f"{name}: expected numbers of shape (N, classes) and N integers as labels, got {got}")
    if not len(labels):
        raise ValueError(f"{name}: there is no image: give one or more")
    if labels.min() < 0 or labels.max() >= rows.shape[1]:
        raise ValueError(f"{name}: labels from {labels.min()} to {labels.max()}: expected 0 to {rows.shape[1] - 1}")
    return labels


# A temperature ------------------------------------------------------------------------------------------------------


def temperature_scaling(logits: Array, temperature: Array) -> tuple[Array, Backward]:
    """y = logits / temperature

    logits floating-point; temperature: an array () of their dtype, not 0.
    backward(dy) -> (dlogits, dtemperature) = (dy / temperature, -sum(dy * logits) / temperature^2).
    Source: Guo et al. 2017, section 4.2.
    """
    check_not_empty("temperature_scaling", logits)
    check_float("temperature_scaling", logits, temperature)
    check_wide("temperature_scaling", logits)
    if temperature.shape != ():
        raise ValueError(f"temperature_scaling: temperature has shape {temperature.shape}, expected (): one number")
    y = logits / temperature

    def backward(dy):
        check_gradient("temperature_scaling", dy, logits.shape, logits.dtype)
        return dy / temperature, -(dy * y).sum() / temperature

    return y, backward


class TemperatureScaling(Module):
    """x -> network(x) / temperature, the logits of a calibrated network; its likeliest class is the same.

    temperature: a number above 0, 1 for no change. Raises ValueError for another.
    """

    def __init__(self, network: Module, temperature: float) -> None:
        self.network, self.temperature = network, check_temperature(temperature)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        logits, network_backward = self.network(x)
        temperature = array_module(logits).asarray(self.temperature, logits.dtype)
        y, scaling_backward = temperature_scaling(logits, temperature)
        return y, lambda dy: network_backward(scaling_backward(dy)[0])


def check_temperature(temperature: float, name: str = "temperature") -> float:
    """The temperature as a float. Raises ValueError unless it is finite and above 0."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"{name} is {temperature:g}, expected a number above 0: 1 changes nothing")
    return float(temperature)


def nll_by_inverse_temperature(logits: np.ndarray, labels: np.ndarray, beta: float) -> tuple[float, float, float]:
    """(f, f', f'') at beta = 1 / T of the mean negative log likelihood f of softmax(beta * logits).

        f   = mean over n of  log sum_c exp(beta * z[n, c]) - beta * z[n, label]
        f'  = mean over n of  E_n[z] - z[n, label]      E_n: mean over c with weights softmax(beta * z[n])
        f'' = mean over n of  E_n[z^2] - E_n[z]^2,  a variance, so that f is convex

    logits z (N, classes), float64; labels: integers (N,).
    """
    rows = np.arange(len(labels))
    z = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(beta * z)
    total = powers.sum(axis=1)
    p = powers / total[:, None]
    mean = (p * z).sum(axis=1)
    variance = (p * (z - mean[:, None]) ** 2).sum(axis=1)
    f = np.log(total) - beta * z[rows, labels]
    return float(f.mean()), float((mean - z[rows, labels]).mean()), float(variance.mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T above 0 that minimises the mean negative log likelihood of softmax(logits / T).

    logits (N, classes), of images that the network was not trained on; labels: integers (N,).
    Newton's method on beta = 1 / T, in which the function is convex, held between two betas at which the derivative has
    its two signs: a step that leaves them, or is not half as long as the one before, goes to their middle instead. So
    each step halves the one or the other, and it ends in any case.
    Raises ValueError where there is no minimum: all images are right (the surer the better: T would be 0), or the
    labels are no likelier than by chance (T would be infinite); and for logits that are not finite.
    """
    logits = np.asarray(logits, np.float64)
    labels = _checked_labels("fit_temperature", logits, labels)
    if not np.isfinite(logits).all():
        raise ValueError("fit_temperature: some logits are NaN or infinite: give those of other weights")
    low, high = 0.0, 1.0
    if nll_by_inverse_temperature(logits, labels, low)[1] >= 0:
        raise ValueError(
            f"fit_temperature: on these {len(labels):,} images the network is no better than chance, and no "
            "temperature helps: give weights that were trained for these classes"
        )
    if (logits[np.arange(len(labels)), labels] == logits.max(axis=1)).all():
        raise ValueError(
            f"fit_temperature: all {len(labels):,} images are right, so no confidence is too high for them: give more "
            "images, and such that the network was not trained on"
        )
    while nll_by_inverse_temperature(logits, labels, high)[1] < 0:
        low, high = high, 2 * high
    beta, length = (low + high) / 2, high - low
    while length > 1e-14 * beta:
        _, slope, curvature = nll_by_inverse_temperature(logits, labels, beta)
        low, high = (low, beta) if slope > 0 else (beta, high)
        following = beta - slope / curvature if curvature > 0 else low
        if not (low < following < high and abs(following - beta) < length / 2):
            following = (low + high) / 2
        beta, length = following, abs(following - beta)
    return 1 / beta
