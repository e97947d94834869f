"""Softmax and cross-entropy of one image's logits."""

import numpy as np

from live.figures import code_line
from minires import textbook
from minires.losses import cross_entropy
from minires.textbook import softmax


def numbers(logits, label, smoothing):
    """-> the probabilities, the loss and its gradient with respect to the logits."""
    logits = np.array([logits], np.float64)
    loss, backward = cross_entropy(logits, np.array([label]), label_smoothing=smoothing)
    dlogits = np.asarray(backward())[0]
    p = softmax(logits)[0][0]
    code = code_line(textbook.cross_entropy, "return dloss")
    found = {"p": p, "loss": float(loss), "dlogits": dlogits, "sum": float(dlogits.sum()), "targets": p - dlogits}
    return {**found, "code": code}
