"""What a reader of weights files says when it cannot read one."""


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names the file, what is wrong with it and the cure."""
