"""pytest within Pyodide."""

import os

from in_browser.measuring import measure

FLAGS = ("--capture=sys", "-p", "no:cacheprovider", "-p", "in_browser.plugin")  # file descriptors are not captured here


def main(arguments: list[str]) -> int:
    """pytest's exit code. /checkout and /packages are this repository's checkout, and what pytest is made of.

    arguments: pytest's, or "--measure" for figures of time.
    """
    if "--measure" in arguments:
        return measure()
    import pytest

    os.chdir("/checkout")
    return int(pytest.main([*FLAGS, *arguments]))
