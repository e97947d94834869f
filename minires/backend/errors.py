"""What goes wrong with devices."""


class DeviceError(RuntimeError):
    """The device asked for is not there; the message says what is missing and how to get it.

    Its last words are the other way out, as an argument of the library. `for_scripts` is the same sentence with the
    option of a command line.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f'{problem}, or use device="cpu"')
        self.for_scripts = f"{problem}, or use --device cpu"

    def __reduce__(self):
        return type(self), (str(self).removesuffix(', or use device="cpu"'),)
