"""Weights of 8 bits with a scale for each output channel. Derivation: docs/compression.md."""

from collections.abc import Mapping

import numpy as np

LARGEST = 127  # symmetric: -128 is not used, so that q and -q both are numbers
SCALE = "_scale"  # "conv1.weight" is multiplied by "conv1.weight_scale"


def quantize(weight: np.ndarray, per_channel: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(q, scale): q = round(weight / scale) int8 in [-127, 127], scale = max |weight| / 127 float32, above 0.

    weight (O, ...) floating-point, finite. per_channel: a scale for each of the O, of shape (O,); else one, of shape
    (1,). Where all are zero the scale is 1. Then |weight - q * scale| <= scale / 2, to rounding.
    Raises ValueError for another dtype, an empty array, or one that is not finite.
    Source: Jacob et al. 2018, section 2.1, with zero point 0; Krishnamoorthi 2018, section 2.2.
    """
    if weight.dtype.kind not in "fV" or weight.size == 0:  # V: bfloat16
        raise ValueError(f"quantize: expected floating-point weights, got {weight.dtype} of shape {weight.shape}")
    w = weight.astype(np.float32).reshape(len(weight) if per_channel else 1, -1)
    largest = np.abs(w).max(axis=1)
    if not np.isfinite(largest).all():
        raise ValueError("quantize: the weights hold NaN or infinity: train them again with a lower learning rate")
    scale = np.maximum(largest / np.float32(LARGEST), np.finfo(np.float32).tiny)
    scale[largest == 0] = 1
    q = np.clip(np.rint(w / scale[:, None]), -LARGEST, LARGEST)
    return q.astype(np.int8).reshape(weight.shape), scale


def dequantize(q: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """q * scale, float32 in the shape of q (O, ...); scale (O,) or (1,), of output channels or of all."""
    return q * scale.astype(np.float32).reshape(-1, *(1,) * (q.ndim - 1))


def quantized_state(state: Mapping[str, np.ndarray], per_channel: bool = True) -> dict[str, np.ndarray]:
    """A network's state with its weights of two and more dimensions as int8, each with its scale under KEY_scale.

    Biases and batch norms stay float32: they are few, and a network that is trained further needs their statistics.
    """
    quantized = {}
    for key, array in state.items():
        if array.ndim < 2:
            quantized[key] = array.astype(np.float32)
        else:
            quantized[key], quantized[key + SCALE] = quantize(array, per_channel)
    return quantized


def dequantized_state(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The float32 state of what `quantized_state` gave; arrays without a scale beside them as they are.

    Raises ValueError for a scale that does not fit its int8 weights.
    """
    weights = [key for key in state if key + SCALE in state and state[key].dtype == np.int8]
    for key in weights:
        q, scale = state[key], state[key + SCALE]
        if q.ndim < 2 or scale.ndim != 1 or scale.size not in (1, len(q)) or scale.dtype.kind != "f":
            raise ValueError(f"{key}{SCALE} has shape {scale.shape}, its weights {q.shape}: it is damaged")
    scales = {key + SCALE for key in weights}
    restored = {key: dequantize(state[key], state[key + SCALE]) for key in weights}
    return {key: restored.get(key, array) for key, array in state.items() if key not in scales}
