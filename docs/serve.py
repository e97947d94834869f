"""Shows the site that `make docs` built, at an address of this machine alone, until Ctrl-C."""

import functools
import http.server
import os
import sys
import webbrowser
from pathlib import Path

SITE = Path(__file__).parent / "_build" / "html"


class Handler(http.server.SimpleHTTPRequestHandler):
    # Browsers take scripts and WebAssembly under these names alone, and some machines know others.
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *args):  # nothing for each file
        pass


def server(folder=SITE, port=8000):
    """A server of the folder's files on 127.0.0.1, at another free port where `port` is taken."""
    handler = functools.partial(Handler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main():
    if not (SITE / "index.html").exists():
        sys.exit(f"there is no site in {SITE}: build it with make docs")
    with server() as site:
        address = f"http://127.0.0.1:{site.server_port}/"
        print(f"The site is at {address} (Ctrl-C ends)", flush=True)
        if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(address)
        try:
            site.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
