"""Hosts that send anything but what they were asked for: a server on this machine, and downloads from it."""

import contextlib
import gzip
import hashlib
import http.server
import io
import itertools
import tarfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from spoiling import nothing_reached
from test_data_cifar import make_batches, write_binary, write_python

from campaign.attack import Attack
from campaign.bounds import bounded
from minires.data import CIFAR10, DatasetError, download, find_cifar10, read_cifar10, receiving
from minires.data.archives import Archive

LIMITS = {"CONNECT_TIMEOUT": 1.5, "STALL_TIMEOUT": 1.5, "GRACE": 1.0, "CHUNK": 1024, "MOST_BYTES": 5_000_000}
MOST_SENT = LIMITS["MOST_BYTES"] + 12_000_000  # what systems keep of what was sent and not yet read, among it
ENDS = 20.0  # seconds until a connection that was given up must be closed
NAMES = ("127.0.0.1", "127.0.1", "127.1")  # of one address: a host without a connection is not asked again
BOMB = 2**32 + 2**20  # bytes that a megabyte or four unpacks to


class Host:
    """A server on this machine; what it sends to a path, the case says.   sent: bytes, of the present case."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[Any], None]] = {}
        self.sent, self.open, self.over, self.asked = 0, 0, threading.Event(), 0
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked += 1
                host.open += 1
                with contextlib.suppress(OSError, KeyError):  # the client hangs up, or asks for a page of before
                    host.pages[self.path](self)
                host.open -= 1

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = ("127.0.0.1", int(self.server.server_port))

    def begin(self) -> None:
        """A new case."""
        self.over.set()
        self.over = threading.Event()
        self.pages, self.sent, self.asked = {}, 0, 0

    def send(self, handler: Any, content: bytes, piece: int = 65_536, pause: float = 0.0) -> None:
        """Bytes as they are, in pieces; counted."""
        over = self.over
        for start in range(0, len(content), piece):
            handler.wfile.write(content[start : start + piece])
            self.sent += min(piece, len(content) - start)
            if pause and over.wait(pause):
                return

    def send_for_ever(self, handler: Any, content: bytes, pause: float = 0.0) -> None:
        """Bytes again and again, until nobody listens or far too many have been taken."""
        over, sent = self.over, 0
        while not over.is_set() and sent < 3 * MOST_SENT:
            self.send(handler, content, pause=pause)
            sent += len(content)


def head(length: object = None, status: str = "200 OK", *more: str) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status}", *([] if length is None else [f"Content-Length: {length}"]), *more, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


# What a host does: function of (host, handler, the right archive, generator) ----------------------------------------


def right(host, handler, content, rng):
    """The archive, in one of the ways that HTTP has."""
    way = rng.integers(4)
    if way == 0:
        host.send(handler, head(len(content)) + content)
    elif way == 1:
        host.send(handler, head() + content)
    elif way == 2:
        host.send(handler, head(len(content)) + content, piece=int(rng.integers(500, 5000)))
    else:
        cuts = sorted({0, len(content), *(int(cut) for cut in rng.integers(len(content), size=5))})
        pieces = [content[start:end] for start, end in itertools.pairwise(cuts)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        host.send(handler, head(None, "200 OK", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n")


def redirected(host, handler, content, rng):
    """The archive, at another address; the page that says so may have any length itself."""
    path = f"/moved-{rng.integers(10**9)}"
    host.pages[path] = lambda handler: right(host, handler, content, rng)
    status = rng.choice(["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
    where = path if rng.random() < 0.5 else f"http://127.0.0.1:{host.address[1]}{path}"
    if rng.random() < 0.3:
        host.send(handler, head(None, str(status), f"Location: {where}"))
        host.send_for_ever(handler, bytes(65_536))
    else:
        host.send(handler, head(3, str(status), f"Location: {where}") + b"moo")


def led_astray(host, handler, content, rng):
    """A redirection to what is not to be opened, or nowhere."""
    places = (
        "file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,a", "//", "", "http://", "http://[::1", "gopher:a",
        "javascript:0", "\x1b[31m", "http://127.0.0.1:99999/", "http://a:b@/", "/" + "a" * 50_000, handler.path, "?",
        "\udcff\udcfe", "http://\u202e/", "/\x00", "FILE:/etc/passwd", "http:file:///etc/passwd", "C:\\windows",
        "mock://a", "http+unix://%2Fvar%2Frun%2Fdocker.sock/a",
    )  # fmt: skip
    host.send(handler, head(0, "302 Found", f"Location: {places[rng.integers(len(places))]}"))


def cut(host, handler, content, rng):
    """Too little, whatever length was said."""
    short = content[: rng.integers(len(content))]
    host.send(handler, (head(len(content)) if rng.random() < 0.7 else head()) + short)


def too_much(host, handler, content, rng):
    """The archive and more, of which a length may or may not have been said."""
    more = bytes(rng.integers(1, 1_000_000))
    host.send(handler, (head() if rng.random() < 0.5 else head(len(content) + len(more))) + content + more)


def wrong_length(host, handler, content, rng):
    """A length that is none, or another."""
    lengths = (0, -1, "abc", 10**15, len(content) - 1, len(content) + 1, "1e5", "9" * 30, "+5", "0x10", "\u0663", "")
    length = lengths[rng.integers(len(lengths))]
    lines = (f"Content-Length: {rng.choice([0, 7, len(content)])}",) if rng.random() < 0.2 else ()
    host.send(handler, head(length, "200 OK", *lines) + content)


def changed(host, handler, content, rng):
    """A bit of the archive is another."""
    spoilt = bytearray(content)
    spoilt[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    host.send(handler, head(len(content)) + spoilt)


def something_else(host, handler, content, rng):
    """Words, nothing, or noise."""
    others = (b"<html>not found, but said in words</html>", b"", rng.bytes(5000), gzip.compress(bytes(10**6)))
    other = others[rng.integers(len(others))]
    host.send(handler, head(len(other)) + other)


def a_number(host, handler, content, rng):
    """An answer of any kind, with or without the archive."""
    kinds = (
        "204 No", "206 Partial", "304 Same", "400 Bad", "401 \x1b[31m", "403 No", "404 No", "416 Range", "429 Later",
        "500 \u202e", "503 Later", "999 What", "99 Less", "0 Nothing", "-200 Minus", "200 " + "a" * 5000, "abc", "",
    )  # fmt: skip
    body = content if rng.random() < 0.5 else content[: rng.integers(len(content))]
    ranges = ("Content-Range: bytes 5-9/10",) if rng.random() < 0.5 else ()
    host.send(handler, head(len(body), kinds[rng.integers(len(kinds))], *ranges) + body)


def no_http(host, handler, content, rng):
    """Heads that are none."""
    heads = (
        b"", b"\r\n\r\n", b"HTTP/0.9 200 OK\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", rng.bytes(300), b"a" * 100_000, content,
        head(5, "200 OK", *(f"X-{n}: {n}" for n in range(300))), head(5, "200 OK", "X: " + "a" * 100_000),
        head(5, "200 OK", "no colon", " folded"), b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", b"\0" * 1000,
        head(len(content), "200 OK", "Content-Disposition: attachment; filename=../../../escaped") + content,
    )  # fmt: skip
    host.send(handler, heads[rng.integers(len(heads))])


def wrong_chunks(host, handler, content, rng):
    """Transfer-Encoding: chunked, with sizes that are none."""
    sizes = (b"ffffffffffffffff", b"-1", b"zz", b"", b"0", b"5;" + b"a" * 70_000, b"7fffffff", b" 10", b"1_0")
    host.send(handler, head(None, "200 OK", "Transfer-Encoding: chunked") + sizes[rng.integers(len(sizes))] + b"\r\n")
    host.send(handler, content)


def packed_again(host, handler, content, rng):
    """Content-Encoding: a bomb, or the archive packed once more."""
    kinds = ("gzip", "deflate", "br", "zstd", "gzip, gzip", "\x1b[31m", "a" * 1000)
    body = gzip.compress(bytes(10**7) if rng.random() < 0.5 else content)
    host.send(handler, head(len(body), "200 OK", f"Content-Encoding: {kinds[rng.integers(len(kinds))]}") + body)


def endless(host, handler, content, rng):
    """The same for ever: bytes, redirections, words before the head, or an error that is explained without end."""
    way = rng.integers(5)
    if way == 0:
        host.send(handler, head(rng.choice([None, 10**6, 10**12])))
        host.send_for_ever(handler, rng.bytes(65_536))
    elif way == 1:
        host.send(handler, head(None, "200 OK", "Transfer-Encoding: chunked"))
        host.send_for_ever(handler, b"1000\r\n" + bytes(4096) + b"\r\n")
    elif way == 2:
        host.send_for_ever(handler, b"HTTP/1.1 100 Continue\r\n\r\n" * 100, pause=0.01)  # what is no body, time limits
    elif way == 3:
        host.send(handler, head(None, "404 Not found"))
        host.send_for_ever(handler, bytes(65_536))
    else:
        host.send_for_ever(handler, b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000)


def silent(host, handler, content, rng):
    """Nothing more after a while, and the line stays open."""
    answer = head(len(content)) + content
    host.send(handler, answer[: rng.integers(len(answer))] if rng.random() < 0.8 else b"")
    handler.wfile.flush()
    host.over.wait(60)


def dribbled(host, handler, content, rng):
    """A byte now and then, in the head or in the body."""
    answer = head(len(content)) + content
    fast = int(rng.integers(len(answer))) if rng.random() < 0.7 else 0
    host.send(handler, answer[:fast])
    host.send(handler, answer[fast:], piece=1, pause=0.05)


GOOD = (right, redirected)
QUICK = (led_astray, cut, too_much, wrong_length, changed, something_else, a_number, no_http, wrong_chunks)
QUICK += (packed_again,)
SLOW = (endless, silent, dribbled)


# The attack ---------------------------------------------------------------------------------------------------------


class Prepared:
    """The server, the archives and their images; the limits of downloads are lowered for this process."""

    def __init__(self, folder: Path) -> None:
        batches = make_batches()
        self.images, self.host = batches["test_batch"][0], Host()
        self.archives = {
            write.__name__: _tar(write(folder / write.__name__, batches)) for write in (write_binary, write_python)
        }
        self.bomb = _bomb()
        known = ((self.archives["write_binary"], CIFAR10.binary), (self.archives["write_python"], CIFAR10.python))
        self.known = [
            Archive(f"cifar-10-{number}.tar.gz", hashlib.md5(content).hexdigest(), layout)
            for number, (content, layout) in enumerate(known)
        ]
        self.bombs = [Archive("cifar-10-bomb.tar.gz", hashlib.md5(self.bomb).hexdigest(), CIFAR10.binary)]
        for name, value in LIMITS.items():
            setattr(receiving, name, value)
        download.MINIMUM_RATE = 20_000  # type: ignore[misc]


def _tar(folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return buffer.getvalue()


def _bomb():
    """A tar whose first file has more than four gigabytes of nothing, packed in four megabytes."""
    info = tarfile.TarInfo(f"{CIFAR10.binary.folder}/{CIFAR10.binary.files[0]}")
    info.size = BOMB
    zeros = gzip.compress(bytes(2**24))
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + zeros * (BOMB // 2**24) + gzip.compress(bytes(2**20))


def case(prepared, rng, number, folder):
    """One to three hosts, of which the last may be good; or one that sends a bomb with the right checksum."""
    host = prepared.host
    host.begin()
    pooch.os_cache = lambda name: folder / "cache"
    bombed = rng.random() < 0.03
    behaviours = [_drawn(rng) for _ in range(rng.integers(1, 4))]
    good = None
    sources = []
    for at, behave in enumerate(behaviours):
        which = int(rng.integers(2))
        content = list(prepared.archives.values())[which]
        if bombed:
            behave, content, which = right, prepared.bomb, 0
        page = f"/{number}-{at}"
        own = np.random.default_rng(rng.integers(2**63))  # a thread has one of its own
        host.pages[page] = partial(_answer, behave, host, content, own)
        archive = (prepared.bombs if bombed else prepared.known)[which]
        sources.append((f"http://{NAMES[at]}:{host.address[1]}{page}", archive))
        if behave in GOOD and good is None:
            good = at
    only = len(sources) == 1 and rng.random() < 0.5
    download.ARCHIVES = tuple(prepared.bombs if bombed else prepared.known)
    download.SOURCES = tuple(sources)
    patient = bool(rng.random() < 0.1) and not set(behaviours) & {dribbled}

    def get(place):
        find_cifar10(place, sources[0][0] if only else None, progress=False, patient=patient)

    place = folder / "place"
    said = io.StringIO()
    with nothing_reached(folder, host.address), contextlib.redirect_stderr(said):
        outcome = bounded(get, place, allowed=(DatasetError,), size=LIMITS["MOST_BYTES"])
    left = sorted(path.name for path in place.iterdir()) if place.exists() else []
    assert all(line.isprintable() for line in said.getvalue().splitlines()), f"{said.getvalue()!a}"
    assert not (folder / "cache").exists() and sorted(path.name for path in folder.iterdir()) <= ["place"]
    if outcome == "read":
        assert not bombed, "a bomb is read"
        np.testing.assert_array_equal(read_cifar10(place).test_images, prepared.images)
        assert left in ([CIFAR10.binary.folder], [CIFAR10.python.folder]), f"beside the data {left} is left"
    else:
        assert not left, f"without data {left} is left"
        assert good is None or bombed, f"a good host was not heard: {said.getvalue()!a}"
    host.over.set()
    _hung_up(host)
    return f"{outcome} from the {good + 1}." if outcome == "read" and good is not None else outcome


def _answer(behave, host, content, rng, handler):
    behave(host, handler, content, rng)


def _drawn(rng):
    kinds = rng.choice(3, p=[0.25, 0.63, 0.12])
    behaviours = (GOOD, QUICK, SLOW)[kinds]
    return behaviours[rng.integers(len(behaviours))]


def _hung_up(host):
    """Whoever was given up is no longer listened to, and was not for long."""
    end = time.monotonic() + ENDS
    while host.open and time.monotonic() < end:
        time.sleep(0.01)
    assert not host.open, f"{host.open} connections are still open"
    most = MOST_SENT * max(1, host.asked)
    assert host.sent <= most, f"{host.sent:,} bytes were taken, {most:,} are allowed"


ATTACKS = [
    Attack(
        "downloads",
        "the data are those of the checksum, or a sentence; nothing else is left, and no more is read than is allowed",
        Prepared, case, 2_000, 12, hang=120,
    ),
]  # fmt: skip
