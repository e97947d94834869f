"""Does a state fit what it is loaded into? One answer for models, optimizers and files of weights."""


def check_fit(owner, shapes, arrays, holder, strict=True, optional=()):
    """Raise one ValueError that lists every missing, unexpected and misshapen array; return if there is none.

    owner: whose state it is, for the message.   shapes: {key: shape} that it has, as `holder` ("the model") wants it.
    arrays: {key: array} given.   strict: False for missing and unexpected ones to be welcome.   optional: keys that may
    be missing, or there, in any case.
    """
    misshapen = {key: arrays[key].shape for key in shapes if key in arrays and arrays[key].shape != shapes[key]}
    problems = {
        "missing": [key for key in shapes if strict and key not in arrays and key not in optional],
        "unexpected": [key for key in arrays if strict and key not in shapes and key not in optional],
        "misshapen": [f"{key} has {shape}, {holder} {shapes[key]}" for key, shape in misshapen.items()],
    }
    lines = [f"{kind}: {', '.join(keys)}" for kind, keys in problems.items() if keys]
    if lines:
        raise ValueError(f"state does not fit {owner}: {'; '.join(lines)}")
