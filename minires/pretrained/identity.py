"""What a file of weights holds, as text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minires.data.images import Preprocessing
from minires.models.narrow import in_words
from minires.pretrained.readings import ASSUMED, FIELDS, usual_eps
from minires.pretrained.weights import read
from minires.wording import shown


def identify(path: str | Path, part: str | None = None, overrides: Mapping[str, Any] | None = None) -> str:
    """What a weights file holds, as text: network, classes, source, preprocessing, what is assumed, what was left out.

    Raises as `read`.
    """
    state, metadata = read(path, part, overrides)
    texts = {name: in_words(value) if name == "widths" else value for name, value in metadata["options"].items()}
    options = "".join(f", {name} {text}" for name, text in texts.items() if text)
    numbers = sum(array.size for key, array in state.items() if ".running_" not in key)
    heads = "no head" if metadata["num_classes"] is None else f"{metadata['num_classes']:,} classes"
    names = f": {', '.join(shown(name, 40) for name in metadata['classes'][:10])}" if metadata["classes"] else ""
    lines = [
        f"model          {metadata['model']}{options}, {numbers:,} parameters",
        f"classes        {heads}{names}",
        f"source         {shown(metadata['source'])}",
        f"preprocessing  {preprocessing_text(metadata)}",
        *(f"assumed        {sentence}" for sentence in assumed_sentences(metadata)),
        *(f"note           {note}" for note in metadata["notes"]),
    ]
    return "\n".join(lines)


def preprocessing_text(metadata: Mapping[str, Any]) -> str:
    """The preprocessing of metadata in words, and what of it is assumed."""
    preprocessing = Preprocessing(**metadata["preprocessing"])
    cut = "scaled to it" if preprocessing.resize is None else f"cut out after scaling to {preprocessing.resize}"
    mean, std = (", ".join(f"{number:.4f}" for number in getattr(preprocessing, name)) for name in ("mean", "std"))
    assumed = [name for name in FIELDS if name in metadata["assumptions"]]
    what = f"; assumed: {', '.join(assumed)}" if assumed else ""
    what = "; assumed, the file does not say" if len(assumed) == len(FIELDS) else what
    return (
        f"{preprocessing.size}x{preprocessing.size} {cut}, {preprocessing.interpolation}, "
        f"{preprocessing.order}, mean ({mean}), std ({std}){what}"
    )


def assumed_sentences(metadata: Mapping[str, Any]) -> list[str]:
    """What is assumed of the network itself, and of its classes: sentences."""
    sentences = [sentence for name, sentence in ASSUMED.items() if name in metadata["assumptions"]]
    eps = usual_eps(metadata["model"], metadata["options"]) if "eps" in metadata["assumptions"] else None
    return [sentence.format(eps=eps) for sentence in sentences]
