"""What goes wrong with devices."""


class DeviceError(RuntimeError):
    """The device asked for is not there; the message says what is missing and how to get it."""
