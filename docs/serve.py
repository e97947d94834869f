"""Shows the site that `make docs` built, until Ctrl-C: at an address of this machine alone, or to a whole room.

python docs/serve.py                    for this machine
python docs/serve.py --host 0.0.0.0     for all that share its network, under its name or address, and the port
"""

import argparse
import functools
import http.server
import os
import socket
import sys
import webbrowser
from pathlib import Path

SITE = Path(__file__).parent / "_build" / "html"
HERE, EVERYBODY = "127.0.0.1", "0.0.0.0"


class Handler(http.server.SimpleHTTPRequestHandler):
    # Browsers take scripts and WebAssembly under these names alone, and some machines know others.
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *args):  # nothing for each file
        pass


def server(folder=SITE, port=8000, host=HERE):
    """A server of the folder's files, at another free port where `port` is taken."""
    handler = functools.partial(Handler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer((host, port), handler)
    except OSError:
        return http.server.ThreadingHTTPServer((host, 0), handler)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--host", default=HERE, help="the address to listen at; 0.0.0.0: for all of the network (%(default)s)"
    )
    host = parser.parse_args(argv).host
    if not (SITE / "index.html").exists():
        sys.exit(f"there is no site in {SITE}: build it with make docs")
    try:
        site = server(host=host)
    except OSError as error:
        sys.exit(f"--host {host}: this machine has no such address ({error.strerror}); 0.0.0.0 means all it has")
    with site:
        name = socket.gethostname() if host == EVERYBODY else host
        address = f"http://{name}:{site.server_port}/"
        print(f"The site is at {address} (Ctrl-C ends)", flush=True)
        if host == EVERYBODY:
            print("The others use that name, or this machine's address in the network.", flush=True)
        if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(address)
        try:
            site.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
