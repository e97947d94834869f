"""Saliency and Grad-CAM of a visitor's own picture, by weights that come with the site or were dropped on the page."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from live.figures.chinese import in_chinese
from minires import pretrained
from minires.data import normalize
from minires.data.images import Preprocessing, open_image
from minires.data.synthetic import SHAPES
from minires.inspection import explain
from minires.textbook import softmax

SHOWN = 192  # pixels on a side, of what is drawn
MOST = 5  # classes that are named
RED = np.array([220, 40, 40], np.float32)

_network = None  # (model, metadata) in use


def weights(name, language="en"):
    """Takes a file's network from now on. -> what is known of it, or {"error": one sentence}; the file is removed.

    ours: whether its classes are the drawn shapes.
    """
    global _network
    path = Path(name)
    try:
        text = pretrained.identify(path)
        model, metadata = pretrained.build(path)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        return {"error": str(error) or type(error).__name__}
    finally:
        path.unlink(missing_ok=True)
    model.eval()
    _network = model, metadata
    classes = classes_of(metadata)
    text = in_chinese(text) if language == "zh" else text
    return {
        "error": None,
        "text": text,
        "source": metadata["source"],
        "classes": classes,
        "ours": classes == list(SHAPES),
    }


def classes_of(metadata):
    return list(metadata["classes"] or (f"class {number}" for number in range(metadata["num_classes"])))


def example(kind="star"):
    """Writes a drawn shape to try, light on dark. -> the file's name"""
    y, x = (np.mgrid[0:96, 0:96] - 47.5) / 34
    cover = np.clip(SHAPES[kind](x.astype(np.float32), y.astype(np.float32)) * 34 + 0.5, 0, 1)
    Image.fromarray((60 + 140 * cover).astype(np.uint8)).save("shape.png")
    return "shape.png"


def explained(name, label=None):
    """Of a picture's middle square: pixels, saliency, Grad-CAM as PNGs, the likeliest classes, and the one explained.

    label: the class to explain, None for the likeliest. {"error": one sentence} for what is no picture, {"lost": True}
    where Python was ended since, and knows no network any more.
    """
    if _network is None:
        return {"lost": True}
    model, metadata = _network
    preprocessing = Preprocessing(**metadata["preprocessing"])
    try:
        picture = open_image(name)
        square = (min(picture.size),) * 2
        pixels = preprocessing.pixels(ImageOps.fit(picture, square, centering=(0.5, 0.5)))
    except (ValueError, OSError) as error:
        return {"error": str(error)}
    x = normalize(pixels[None], preprocessing.mean, preprocessing.std)
    dx, logits, labels = explain.input_gradient(model, x, label)
    heat = explain.grad_cam(model, x, labels)[0]
    saliency = abs(dx).max(axis=-1)[0]
    p = softmax(np.asarray(logits, np.float64))[0][0]
    rgb = pixels if preprocessing.order == "RGB" else pixels[:, :, ::-1]
    names = classes_of(metadata)
    best = np.argsort(-p, kind="stable")[:MOST]
    return {
        "error": None,
        "cut": list(picture.size) if picture.size != square else None,
        "pictures": {"pixels": png(rgb), "saliency": png(grey(saliency)), "grad_cam": png(tinted(rgb, heat))},
        "likeliest": [{"label": int(k), "name": names[k], "p": float(p[k])} for k in best],
        "explained": {"label": int(labels[0]), "name": names[labels[0]]},
        "maps": {"saliency": saliency, "grad_cam": heat},
    }


def grey(values):
    """The largest is white, 0 is black; the few largest hundredths are cut off, as one pixel would darken the rest."""
    top = float(np.quantile(values, 0.99)) or 1.0
    return (np.clip(values / top, 0, 1) * 255).round().astype(np.uint8)


def tinted(rgb, heat):
    """A picture under a red that is denser where the map is larger; the map is scaled smoothly to its size."""
    H, W = rgb.shape[:2]
    heat = heat / (float(heat.max()) or 1.0)
    share = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((W, H), Image.Resampling.BILINEAR))[..., None]
    return (rgb * (1 - 0.75 * share) + RED * 0.75 * share).round().astype(np.uint8)


def png(pixels):
    """A picture of a size to look at, as an address of its own."""
    held = io.BytesIO()
    image = Image.fromarray(pixels)
    scale = max(1, SHOWN // max(image.size))
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(held, "PNG")
    return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"
