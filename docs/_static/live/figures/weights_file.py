"""What is in a weights file that was dropped on the page."""

import os
from pathlib import Path

import numpy as np

from live.figures.chinese import in_chinese
from minires import models, pretrained


def identify(name, language="en"):
    """-> {"text": ...} of `minires.pretrained.identify`, or {"error": one sentence}. The file is removed after it."""
    path = Path(name)
    try:
        text = pretrained.identify(path)
        return {"text": in_chinese(text) if language == "zh" else text, "error": None}
    except (ValueError, OSError, ImportError, MemoryError) as error:
        return {"text": None, "error": str(error) or type(error).__name__}
    finally:
        path.unlink(missing_ok=True)


def example():
    """Writes a file to try, as it might come from somewhere: arrays and nothing else. -> its name and size."""
    model = models.resnet20(num_classes=10, rng=0)
    np.savez("somebodys-network.npz", **model.state_dict())
    return {"name": "somebodys-network.npz", "bytes": os.path.getsize("somebodys-network.npz")}
