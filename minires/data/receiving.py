"""A file from a host that may send anything: nothing, a byte now and then, no end, or far more than it said.

How long there may be nothing, how slow it may be, how long it may take and how large it may be are all limited.
"""

import contextlib
import queue
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from minires.wording import readable

CONNECT_TIMEOUT = 10.0  # seconds to wait for a connection
STALL_TIMEOUT = 10.0  # seconds to wait for the next CHUNK bytes
GRACE = 20.0  # seconds before the rate is judged
MINIMUM_RATE = 200_000  # bytes a second, on average since the start
MOST_REDIRECTIONS = 20
MOST_SECONDS = 12 * 3600  # of a download, however patient its user
MOST_BYTES = 2**28  # of an archive of CIFAR, which has 163 to 170 MB
CHUNK = 16_384
AHEAD = 64  # chunks that are received before they are written


class HostFailed(Exception):
    """This host did not deliver; the message says why in a few words, and the next one gets its turn."""


class Unreachable(HostFailed):
    """There was no connection at all."""


class TooSlow(HostFailed):
    """This host delivers, but so slowly that another is worth a try."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"too slow ({rate / 1000:.0f} kB/s)")
        self.rate = rate


def receive(url: str, output_file: str | Path, progress: bool, minimum_rate: float) -> None:
    """Write what `url` sends to `output_file`, and raise HostFailed as soon as the host stalls, trickles or floods.

    A thread receives and this one watches the clock: a read that is served a byte now and then never times out by
    itself, whether in the headers or in the body.
    """
    chunks: queue.Queue = queue.Queue(AHEAD)
    line = _Line()
    threading.Thread(target=_receive, args=(url, chunks, line), daemon=True).start()
    start, received, total, bar = time.monotonic(), 0, None, None
    try:
        with open(output_file, "wb") as file:
            while True:
                try:
                    item = chunks.get(timeout=STALL_TIMEOUT if total is not None else CONNECT_TIMEOUT + STALL_TIMEOUT)
                except queue.Empty:
                    seconds = time.monotonic() - start
                    raise HostFailed(f"stalled after {received:,} bytes and {seconds:.0f} s") from None
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, int):  # the headers have arrived
                    total, bar = item, _progress_bar(item) if progress else None
                    continue
                if not item:  # the end of the file
                    return
                file.write(item)
                received += len(item)
                if bar is not None:
                    bar.update(len(item))
                _check(received, time.monotonic() - start, minimum_rate)
    finally:
        line.hang_up()
        if bar is not None:
            bar.close()


class _Line:
    """The connections of a download. After `hang_up` nothing more is received, whatever the other thread waits for."""

    def __init__(self) -> None:
        self.over, self.sockets = threading.Event(), []  # type: ignore[var-annotated]

    def add(self, connected: socket.socket) -> None:
        """One that has just been made."""
        self.sockets.append(connected)
        if self.over.is_set():
            self.hang_up()

    def hang_up(self) -> None:
        """End them all."""
        self.over.set()
        for connected in self.sockets:
            with contextlib.suppress(OSError):  # it has ended
                connected.shutdown(socket.SHUT_RDWR)

    def session(self) -> Any:
        """A requests.Session whose connections are these."""
        import requests
        from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

        pools = {"http": self._kept(HTTPConnectionPool), "https": self._kept(HTTPSConnectionPool)}

        class Adapter(requests.adapters.HTTPAdapter):
            def init_poolmanager(self, *args: Any, **options: Any) -> None:
                super().init_poolmanager(*args, **options)
                self.poolmanager.pool_classes_by_scheme = pools

            def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
                manager = super().proxy_manager_for(*args, **options)
                manager.pool_classes_by_scheme = pools
                return manager

        class Session(requests.Session):
            def resolve_redirects(self, *args: Any, **options: Any) -> Any:
                return iter(())  # `_received` follows: requests would read that page first, however long it is

        session = Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter())
        return session

    def _kept(self, pool):
        line = self

        class Connection(pool.ConnectionCls):  # type: ignore[name-defined]
            def connect(self):
                super().connect()
                line.add(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _check(received, seconds, minimum_rate):
    if received > MOST_BYTES:
        raise HostFailed(f"sends more than {MOST_BYTES:,} bytes, the limit")
    if seconds > GRACE and received < minimum_rate * seconds:
        raise TooSlow(received / seconds)
    if seconds > MOST_SECONDS:
        raise HostFailed(f"takes more than {MOST_SECONDS:,} s, the limit")


def _receive(url, chunks, line):
    """In a thread: put the length, chunk after chunk and an empty chunk, or the exception that came first."""

    def put(item):
        while not line.over.is_set():
            with contextlib.suppress(queue.Full):
                chunks.put(item, timeout=0.1)
                return

    try:
        for item in _received(url, line):
            put(item)
            if line.over.is_set():
                return
        put(b"")
    except Exception as error:  # anything but a thread that dies mute
        put(_failure(error))


def _received(url, line):
    """Yields the length, 0 where the host does not say it, and then chunk after chunk."""
    timeouts, plain = (CONNECT_TIMEOUT, STALL_TIMEOUT), {"Accept-Encoding": "identity"}
    with line.session() as session:
        for _ in range(MOST_REDIRECTIONS + 1):
            with session.get(url, stream=True, timeout=timeouts, headers=plain) as response:
                response.raise_for_status()
                target = session.get_redirect_target(response)
                if target is None:
                    yield from _body(response)
                    return
                url = urljoin(response.url, target)
    raise HostFailed(f"redirects more than {MOST_REDIRECTIONS} times, the limit")


def _body(response):
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raise HostFailed(f"packs the file once more ({readable(packed)})")
    said = response.headers.get("Content-Length", "")
    length = int(said) if said.isdecimal() and len(said) < 20 else 0
    _check(length, 0, 0)
    yield length
    yield from response.iter_content(CHUNK)


def _failure(error):
    """The HostFailed that an exception stands for."""
    import requests
    from urllib3.exceptions import ProtocolError

    if isinstance(error, HostFailed):
        return error
    if isinstance(error, requests.HTTPError):
        answer = error.response
        said = "" if answer is None else f" {answer.status_code} {answer.reason}"
        return HostFailed(readable(f"HTTP{said}".strip()))
    if isinstance(error, requests.exceptions.SSLError):
        return Unreachable("its TLS certificate was refused")
    if isinstance(error, requests.exceptions.ProxyError):
        return Unreachable("the proxy refused the connection")
    if isinstance(error, requests.ConnectTimeout):
        return Unreachable(f"no connection within {CONNECT_TIMEOUT:g} s")
    if isinstance(error, requests.Timeout):
        return HostFailed(f"silent for {STALL_TIMEOUT:g} s")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return HostFailed("the connection broke off")
    if isinstance(error, requests.ConnectionError):
        stalled = "timed out" in str(error)  # what a read time-out in the body is called
        if not stalled and not isinstance(next(iter(error.args), None), ProtocolError):
            return Unreachable("no connection")
        return HostFailed(
            f"silent for {STALL_TIMEOUT:g} s" if stalled else "broke off, or answers with what is no HTTP"
        )
    # a malformed address, a redirection in circles or to what is no HTTP
    return HostFailed(readable(str(error), 100) or type(error).__name__)


def _progress_bar(total):
    """A tqdm bar on stderr; None where tqdm is not installed."""
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        return tqdm(total=total or None, unit="B", unit_scale=True, leave=False)
    return None
