"""pytest within Pyodide."""

import os

FLAGS = ("--capture=sys", "-p", "no:cacheprovider", "-p", "in_browser.plugin")  # file descriptors are not captured here


def main(arguments: list[str]) -> int:
    """pytest's exit code. /checkout and /packages are this repository's checkout, and what pytest is made of."""
    import pytest

    os.chdir("/checkout")
    return int(pytest.main([*FLAGS, *arguments]))
