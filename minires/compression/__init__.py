"""Trained networks made smaller: weights set to zero, filters taken out, numbers of 8 bits.

magnitude_prune(model, 0.8)                        the smallest weights become 0
PruningSGD(parameters, lr, pruned=weights)         what is 0 stays 0
prune_filters(model, keep_macs=0.5)                blocks with fewer inner channels: less work
quantize(array), dequantize(numbers, scale)        int8 with a scale for each output channel

Derivation: docs/compression.md.
"""

from minires.compression.filters import filter_scores, prune_filters
from minires.compression.magnitude import magnitude_prune, prunable, sparsity_of
from minires.compression.quantization import dequantize, dequantized_state, quantize, quantized_state
from minires.compression.sparse_training import PruningSGD, gradual_sparsity

__all__ = [
    "PruningSGD",
    "dequantize",
    "dequantized_state",
    "filter_scores",
    "gradual_sparsity",
    "magnitude_prune",
    "prunable",
    "prune_filters",
    "quantize",
    "quantized_state",
    "sparsity_of",
]
