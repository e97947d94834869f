"""The tests in Chromium, without a window: a server on this machine brings it all, and hears what they say."""

import http.server
import io
import json
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

from in_browser.pyodide import PACKAGES, TOP, pinned

HERE = Path(__file__).parent
FOLDERS = ("minires", "tests", "docs", "examples", "benchmarks", ".ci")  # of the checkout
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
PAGE = b'<!doctype html><title>minires</title><script>new Worker("worker.mjs", { type: "module" });</script>'


def in_chromium(chromium: str, folder: Path, flags: Sequence[str]) -> int:
    """The tests' exit code; their lines go to standard output."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.answers = {  # type: ignore[attr-defined]
        "/": PAGE,
        "/settings.json": json.dumps({"flags": list(flags)}).encode(),
        "/pyodide-lock.json": json.dumps(pinned()["lock"]).encode(),
        "/checkout.zip": _zipped(TOP, [path for name in FOLDERS for path in (TOP / name).rglob("*")]),
        "/packages.zip": _zipped(PACKAGES, PACKAGES.rglob("*")),
    }
    server.pyodide, server.ended, server.code = folder, threading.Event(), 3  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        browser = subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while browser.poll() is None and not server.ended.wait(1):  # type: ignore[attr-defined]
                pass
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
    return server.code  # type: ignore[attr-defined]


def _zipped(top, paths):
    """A zip of the files among them, but for caches."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path in dict.fromkeys([*paths, *top.glob("*")]):
            if path.is_file() and "__pycache__" not in path.parts and "_build" not in path.parts:
                archive.write(path, path.relative_to(top))
    return content.getvalue()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        content = self.server.answers.get(self.path)
        if content is None:
            path = (self.server.pyodide if self.path.startswith("/pyodide/") else HERE) / name
            content = path.read_bytes() if path.is_file() else None
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", TYPES.get(Path(name).suffix, "text/html"))
        self.end_headers()
        self.wfile.write(content or b"")

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/ended":
            self.server.code = int(text)
            self.server.ended.set()
        else:
            print(text, end="", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        """Nothing."""
