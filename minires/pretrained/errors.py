"""What is wrong with a weights file."""


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names the file, what is wrong with it and the cure."""
