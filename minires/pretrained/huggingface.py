"""What stands beside the weights in a folder of Hugging Face: the classes' names, and how pictures are prepared.

    config.json                 id2label of transformers; pretrained_cfg of timm
    preprocessor_config.json    of transformers' image processors

Only fields that are there are given. Sources: transformers, models/convnext/image_processing_convnext.py and others;
timm, data/config.py.
"""

import os
from pathlib import Path
from typing import Any

from minires import plain
from minires.data.images import Preprocessing
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import inside
from minires.wording import shown

MAX_JSON = 2**22  # bytes; the names of 21,841 classes, twice, take half of it
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}  # Pillow's numbers
_WHOLE_FROM = 384  # ConvNext's processor scales pictures of this size and larger without cutting them
_ANY: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def said_beside(folder: Path) -> dict[str, Any]:
    """{"preprocessing": fields of a Preprocessing, "classes": names, "not_read": what of it is of no use}.

    Each is there as far as the files in a folder say it. Raises WeightsError for files that make no sense.
    """
    config, processor = (_beside(folder, name) for name in ("config.json", "preprocessor_config.json"))
    fields = _checked("config.json", _of_timm, config.get("pretrained_cfg"))
    fields |= _checked("preprocessor_config.json", _of_processor, processor)
    said: dict[str, Any] = {"preprocessing": fields} if fields else {}
    place = next((place for place in ("id2label", "label_names") if config.get(place)), None)
    names = _class_names(config[place]) if place else []
    if names is None:
        return {**said, "not_read": [f"{place} of config.json, which is no list of names"]}
    return {**said, "classes": names} if names else said


def read_json(path: Path) -> Any:
    """The content of a file of JSON. Raises WeightsError for one of more than MAX_JSON bytes, and for no JSON."""
    if not path.is_file():
        raise WeightsError(f"{shown(path.name)} is no file; download it again, or move it away")
    with open(path, "rb") as file:
        data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise WeightsError(f"{shown(path.name)} has more than {MAX_JSON:,} bytes; download it again")
    try:
        return plain.read_json(data, finite=False)
    except ValueError as error:
        raise WeightsError(f"{shown(path.name)} is no JSON ({shown(str(error))}); download it again") from error


def _beside(folder, name):
    path = inside(folder, name)
    content = read_json(path) if os.path.lexists(path) else {}
    if not isinstance(content, dict):
        raise WeightsError(f"{name} is no dictionary; download it again, or move it away")
    return content


def _checked(name, reading, content):
    """The fields that `reading` finds in the content of the file `name`; a WeightsError where they are none."""
    try:
        fields = reading(content) if isinstance(content, dict) else {}
        Preprocessing(**{**_ANY, **fields})
        return fields
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        reason = shown(str(error), 120)
        raise WeightsError(f"{name} makes no sense ({reason}); download it again, or move it away") from error


def _class_names(labels):
    """{"0": "cat", ...} or ["cat", ...] as a list; [] for names that transformers makes up, None for what are none."""
    if isinstance(labels, dict):
        labels = [labels.get(str(number)) for number in range(len(labels))]
    if not isinstance(labels, list) or not all(isinstance(name, str) and name.isprintable() for name in labels):
        return None
    return [] if labels == [f"LABEL_{number}" for number in range(len(labels))] else labels


def _of_timm(trained):
    """The fields of pretrained_cfg: mean, std, input_size (C, H, W), crop_pct, interpolation."""
    fields: dict[str, Any] = {name: tuple(trained[name]) for name in ("mean", "std") if name in trained}
    if "input_size" in trained:
        size = trained["input_size"][-1]
        whole = trained.get("crop_mode") == "squash"
        fields |= {"size": size, "resize": None if whole else int(size / trained.get("crop_pct", 0.875))}
    return fields | _interpolation(trained.get("interpolation"))


def _of_processor(processor):
    """The fields of preprocessor_config.json."""
    fields: dict[str, Any] = {}
    if "do_normalize" in processor or "image_mean" in processor:
        factor = 255 * processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 255
        mean, std = processor.get("image_mean"), processor.get("image_std")
        if processor.get("do_normalize") is False:
            mean, std = (0, 0, 0), (1, 1, 1)
        if mean is not None and std is not None:
            fields = {"mean": tuple(m / factor for m in mean), "std": tuple(s / factor for s in std)}
    if "do_flip_channel_order" in processor:
        fields["order"] = "BGR" if processor["do_flip_channel_order"] else "RGB"
    if processor.get("do_resize", True):
        fields |= _sizes(processor) | _interpolation(processor.get("resample"))
    return fields


def _sizes(processor):
    """size and resize: of what is scaled and cut, of what is scaled to a share (crop_pct), or of what is squeezed."""
    scaled, whole = _side(processor.get("size"))
    cut, _ = _side(processor.get("crop_size"))
    if scaled is None:
        return {}
    if cut is not None and processor.get("do_center_crop", True):
        return {"size": cut, "resize": None if whole and cut == scaled else scaled}
    if "crop_pct" in processor and scaled < _WHOLE_FROM:
        return {"size": scaled, "resize": int(scaled / processor["crop_pct"])}
    return {"size": scaled, "resize": None if whole or scaled >= _WHOLE_FROM else scaled}


def _side(size):
    """(pixels, whether both sides are scaled to it) of 224, {"shortest_edge": 224}, {"height": 224, "width": 224}."""
    if not isinstance(size, dict):
        return size, False
    if "shortest_edge" in size:
        return size["shortest_edge"], False
    if size.get("height") != size.get("width"):
        raise ValueError(f"pictures of {size.get('height')} x {size.get('width')}, which are no squares")
    return size.get("height"), True


def _interpolation(name):
    return {"interpolation": _INTERPOLATIONS[name]} if name in _INTERPOLATIONS else {}
