"""Finding and downloading CIFAR-10, with tiny archives and a local server that misbehaves in every way it can."""

import contextlib
import gzip
import hashlib
import http.server
import io
import itertools
import queue
import re
import socket
import sys
import tarfile
import threading
import time

import numpy as np
import pytest
from test_data_cifar import make_batches, write_binary, write_python

from minires.data import (
    CIFAR10,
    DatasetError,
    DatasetUnavailable,
    download,
    find_cifar10,
    load,
    read_cifar10,
    receiving,
)
from minires.data import archives as archives_module

BATCHES = make_batches()


def make_archive(folder):
    """The bytes of a .tar.gz of a folder, with a page beside the files as the official ones have."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=folder.name)
        page = tarfile.TarInfo(f"{folder.name}/readme.html")
        tar.addfile(page, io.BytesIO())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """{"binary": bytes, "python": bytes}"""
    folder = tmp_path_factory.mktemp("archives")
    return {
        "binary": make_archive(write_binary(folder, BATCHES)),
        "python": make_archive(write_python(folder, BATCHES)),
    }


class Server:
    """A server on this machine. Its pages: binary, python (good), and one for each kind of misbehaviour."""

    def __init__(self, archives):
        self.archives, self.requests, self.over = archives, [], threading.Event()
        self.hung_up = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page = self.path.strip("/")
                server.requests.append(page)
                with contextlib.suppress(OSError):  # the client hangs up
                    getattr(server, page.replace("-", "_"))(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, page):
        return f"http://127.0.0.1:{self.http.server_port}/{page}"

    def send(self, handler, content, length=None, piece=None, pause=0.0):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        piece = piece or len(content)
        for start in range(0, len(content), piece):
            handler.wfile.write(content[start : start + piece])
            if pause and self.over.wait(pause):
                return

    def binary(self, handler):
        self.send(handler, self.archives["binary"])

    def python(self, handler):
        self.send(handler, self.archives["python"])

    def wrong(self, handler):
        self.send(handler, b"<html>404, but said in words</html>")

    def missing(self, handler):
        handler.send_error(404)

    def short(self, handler):
        self.send(handler, self.archives["binary"][:9000], len(self.archives["binary"]))

    def silent(self, handler):
        self.over.wait(20)

    def stall(self, handler):
        self.send(handler, self.archives["binary"][:9000], len(self.archives["binary"]))
        handler.wfile.flush()
        self.over.wait(20)

    def trickle(self, handler):
        self.send(handler, self.archives["binary"], piece=1, pause=0.05)

    def trickle_headers(self, handler):
        for _ in itertools.count():
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: "[:1])
            if self.over.wait(0.05):
                return

    def endless(self, handler):
        handler.send_response(200)
        handler.end_headers()
        while not self.over.is_set():
            handler.wfile.write(bytes(65_536))

    def huge(self, handler):
        self.send(handler, b"a", 10**15)

    def more_than_said(self, handler):
        self.send(handler, self.archives["binary"] + b"more", len(self.archives["binary"]) - 1)

    def less_than_said(self, handler):
        self.send(handler, self.archives["binary"], len(self.archives["binary"]) + 9)

    def packed(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(gzip.compress(bytes(10**7)))

    def elsewhere(self, handler):
        handler.send_response(302)
        handler.send_header("Location", "file:///etc/passwd")
        handler.end_headers()

    def circle(self, handler):
        handler.send_response(302)
        handler.send_header("Location", "/circle")
        handler.end_headers()

    def moved(self, handler):
        handler.send_response(302)
        handler.send_header("Location", "/binary")
        handler.end_headers()
        self.for_ever(handler, bytes(65_536))

    def soon(self, handler):
        self.for_ever(handler, b"HTTP/1.1 100 Continue\r\n\r\n")

    def for_ever(self, handler, content):
        try:
            while not self.over.wait(0.01):
                handler.wfile.write(content)
        except OSError:
            self.hung_up.set()
            raise

    def no_http(self, handler):
        handler.wfile.write(b"SSH-2.0\r\n")

    def coloured(self, handler):
        handler.wfile.write(b"HTTP/1.1 500 \x1b[31mred\xe2\x80\xae\r\n\r\n")

    def slow(self, handler):
        self.send(handler, self.archives["binary"], piece=2048, pause=0.04)

    def slower(self, handler):
        self.send(handler, self.archives["python"], piece=2048, pause=0.08)


@pytest.fixture
def server(archives, tmp_path, monkeypatch):
    """A running server, a cache in tmp_path, no $MINIRES_DATA, the tiny archives' checksums and short time-outs."""
    server = Server(archives)
    md5 = {kind: hashlib.md5(content).hexdigest() for kind, content in archives.items()}
    binary = archives_module.Archive("cifar-10-binary.tar.gz", md5["binary"], CIFAR10.binary)
    python = archives_module.Archive("cifar-10-python.tar.gz", md5["python"], CIFAR10.python)
    monkeypatch.setattr(download, "ARCHIVES", (binary, python))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("MINIRES_DATA", raising=False)
    monkeypatch.setattr(receiving, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(receiving, "STALL_TIMEOUT", 0.6)
    monkeypatch.setattr(receiving, "GRACE", 0.4)
    monkeypatch.setattr(receiving, "CHUNK", 1024)
    monkeypatch.setattr(receiving, "MOST_BYTES", 10_000_000)

    def use(*pages):
        kinds = {"python": python, "slower": python}
        monkeypatch.setattr(download, "SOURCES", tuple((server.url(page), kinds.get(page, binary)) for page in pages))

    server.use = use
    yield server
    server.over.set()
    server.http.shutdown()
    server.http.server_close()


def holds_the_images(folder):
    np.testing.assert_array_equal(read_cifar10(folder).test_images, BATCHES["test_batch"][0])
    return True


def test_the_real_table_of_sources_is_well_formed():
    assert {archive.name for _, archive in download.SOURCES} == {archive.name for archive in download.ARCHIVES}
    assert len({url for url, _ in download.SOURCES}) == len(download.SOURCES)
    assert all(url.startswith("https://") and archive.name in url for url, archive in download.SOURCES)


@pytest.mark.parametrize("page, layout", [("binary", "cifar-10-batches-bin"), ("python", "cifar-10-batches-py")])
def test_a_good_host_fills_the_cache_once(server, tmp_path, capsys, page, layout):
    server.use(page)
    folder = find_cifar10()
    assert folder == tmp_path / "cache" / "minires" and holds_the_images(folder)
    assert read_cifar10(folder).label == "CIFAR-10"
    assert [path.name for path in folder.iterdir()] == [layout]  # no archive, nothing temporary
    captured = capsys.readouterr()
    assert server.url(page) in captured.err and captured.out == ""
    assert find_cifar10() == find_cifar10(download=False) == folder
    assert server.requests == [page]


def test_data_dir_is_downloaded_into(server, tmp_path, capsys):
    server.use("binary")
    folder = find_cifar10(data_dir=tmp_path / "mine", progress=False)
    first, second, third, *_ = capsys.readouterr().err.splitlines()
    assert first == f"no CIFAR-10 in {tmp_path / 'mine'}: there is no such folder"
    assert second == f"CIFAR-10 is to be downloaded into {tmp_path / 'mine'}, which is made"
    assert third.startswith("downloading http")
    assert folder == tmp_path / "mine" and holds_the_images(folder)
    assert not (tmp_path / "cache").exists()


def test_without_downloads_the_places_searched_are_named(server, tmp_path, monkeypatch):
    with pytest.raises(
        DatasetUnavailable, match=r"no CIFAR-10 in .*mine and .*cache.*, and downloads .*as data_dir.*synthetic"
    ):
        find_cifar10(data_dir=tmp_path / "mine", download=False)
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DatasetUnavailable, match=r"elsewhere and .*cache"):
        find_cifar10(download=False)
    assert server.requests == [] and list(tmp_path.iterdir()) == []


def test_a_named_folder_without_data_gives_way_to_the_next_place(server, tmp_path, monkeypatch, capsys):
    write_python(tmp_path / "named", BATCHES)
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "named"))
    assert find_cifar10(data_dir=tmp_path / "typo") == tmp_path / "named"
    assert capsys.readouterr().err.splitlines() == [
        f"no CIFAR-10 in {tmp_path / 'typo'}: there is no such folder",
        f"CIFAR-10 is taken from {tmp_path / 'named'}",
    ]
    find_cifar10(data_dir=tmp_path / "named")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("write", [write_binary, write_python])
@pytest.mark.parametrize("how", ["data_dir", "environment"])
def test_data_that_is_there_needs_no_pooch(tmp_path, monkeypatch, write, how):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path) if how == "environment" else "")
    write(tmp_path, BATCHES)
    dataset, notice = load("auto", data_dir=tmp_path if how == "data_dir" else None)
    assert (dataset.name, notice) == ("cifar10", None)
    np.testing.assert_array_equal(dataset.test_images, BATCHES["test_batch"][0])


def test_without_pooch_only_a_download_fails(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("MINIRES_DATA", raising=False)
    with pytest.raises(DatasetUnavailable, match=r"mine; downloads need pooch"):
        find_cifar10(tmp_path / "mine")
    with pytest.raises(DatasetUnavailable, match=r"no CIFAR-10 in any folder named; downloads need pooch"):
        find_cifar10()
    with pytest.raises(DatasetUnavailable, match="downloads are switched off"):
        find_cifar10(tmp_path / "mine", download=False)
    assert not (tmp_path / "mine").exists()


def test_a_cache_that_cannot_be_written_is_no_damage(server, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DatasetUnavailable, match="cannot be written to"):
        find_cifar10()


def test_the_environment_variable_is_searched_before_the_cache(server, tmp_path, monkeypatch):
    write_python(tmp_path / "named", BATCHES)
    write_python(tmp_path / "cache" / "minires", BATCHES)
    assert find_cifar10() == tmp_path / "cache" / "minires"
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "named"))
    assert find_cifar10() == tmp_path / "named"
    assert server.requests == []


@pytest.mark.parametrize(
    "page, reason",
    [
        ("wrong", "wrong checksum"),
        ("missing", "HTTP 404"),
        ("short", "broke off"),
        ("stall", "stalled after|silent for"),
        ("silent", "silent for|stalled"),
        ("trickle", "stalled after"),
        ("trickle-headers", "stalled after"),
        ("slow", r"too slow \(\d+ kB/s\)"),
        ("endless", "sends more than 10,000,000 bytes, the limit"),
        ("huge", "sends more than 10,000,000 bytes, the limit"),
        ("more-than-said", "wrong checksum"),
        ("less-than-said", "broke off|wrong checksum"),
        ("packed", r"packs the file once more \(gzip\)"),
        ("elsewhere", "No connection adapters were found for 'file:///etc/passwd'"),
        ("circle", "redirects more than 20 times, the limit"),
        ("no-http", "broke off, or answers with what is no HTTP"),
        ("coloured", "HTTP 500 .x1b.31mred"),
    ],
)
def test_a_host_that_misbehaves_costs_a_moment(server, capsys, page, reason):
    server.use(page, "python")
    start = time.monotonic()
    folder = find_cifar10(progress=False)
    assert time.monotonic() - start < 10  # the host itself would go on for 20 s or more
    assert [*dict.fromkeys(server.requests)] == [page, "python"] and holds_the_images(folder)
    assert [path.name for path in folder.iterdir()] == ["cifar-10-batches-py"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"downloading {server.url(page)}" and lines[2] == f"downloading {server.url('python')}"
    assert re.search(reason, lines[1]) and lines[1].isprintable()


def test_of_a_page_that_redirects_nothing_but_the_address_is_read(server):
    server.use("moved")
    assert holds_the_images(find_cifar10(progress=False))
    assert server.hung_up.wait(10), "the page is still listened to"


def test_a_host_that_was_given_up_is_no_longer_listened_to(server):
    server.use("soon", "python")
    assert holds_the_images(find_cifar10(progress=False))
    assert server.hung_up.wait(10), "it is still listened to"


def test_a_host_that_talks_nonsense_once_is_asked_for_its_other_archive(server):
    server.use("no-http", "python")
    assert holds_the_images(find_cifar10(progress=False)) and server.requests[-1] == "python"


def test_all_hosts_and_their_reasons_are_named(server, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    server.use("missing", "wrong")
    unreachable = [(f"{nowhere}/{name}", download.SOURCES[0][1]) for name in ("first", "second")]
    monkeypatch.setattr(download, "SOURCES", (*download.SOURCES, *unreachable))
    with pytest.raises(DatasetUnavailable) as caught:
        find_cifar10(data_dir=tmp_path / "mine")
    message = str(caught.value)
    for part in ("HTTP 404", "wrong checksum", nowhere[7:], "no connection", "as data_dir", "as data_url", "synthetic"):
        assert part in message
    assert message.count(nowhere[7:]) == 1, "a host that cannot be reached is tried once"
    assert list((tmp_path / "mine").iterdir()) == []


def test_only_a_patient_caller_waits_for_slow_hosts(server, capsys):
    server.use("slower", "missing", "slow")
    with pytest.raises(DatasetUnavailable, match="too slow"):
        find_cifar10(progress=False)
    server.requests.clear()
    folder = find_cifar10(progress=False, patient=True)
    assert holds_the_images(folder)
    assert server.requests == ["slower", "missing", "slow", "slow"], "the fastest of the slow ones goes on"
    assert "no host is fast" in capsys.readouterr().err


def test_patience_ends_where_a_host_stalls(server, monkeypatch):
    server.use("trickle", "stall")
    with pytest.raises(DatasetUnavailable, match=r"(stalled|silent).*(stalled|silent)"):
        find_cifar10(progress=False, patient=True)


def test_patience_ends_after_hours(server, monkeypatch):
    monkeypatch.setattr(receiving, "MOST_SECONDS", 0.2)
    server.use("slow")
    with pytest.raises(DatasetUnavailable, match=r"takes more than 0.2 s, the limit"):
        find_cifar10(progress=False, patient=True)


def test_a_host_is_not_heard_faster_than_its_bytes_are_written(server, tmp_path, monkeypatch):
    """What was received and not yet written is kept in memory: it has a limit, too."""
    held = []

    class Watched(queue.Queue):
        def put(self, *item, **timeout):
            super().put(*item, **timeout)
            held.append(self.qsize())

    monkeypatch.setattr(receiving.queue, "Queue", Watched)
    with pytest.raises(receiving.HostFailed, match="sends more than"):
        receiving.receive(server.url("endless"), tmp_path / "file", False, 0)
    assert len(held) > 1000 and max(held) <= receiving.AHEAD


@pytest.mark.parametrize("page", ["binary", "python"])
def test_data_url_may_be_either_archive_and_is_the_only_host(server, page):
    server.use("missing")
    assert holds_the_images(find_cifar10(data_url=server.url(page)))
    assert server.requests == [page]


def test_data_url_must_be_an_official_archive(server):
    server.use("binary")
    with pytest.raises(DatasetUnavailable, match=r"sent a file with MD5 [0-9a-f]{32}, which is neither"):
        find_cifar10(data_url=server.url("wrong"))
    with pytest.raises(DatasetUnavailable, match="nonsense"):
        find_cifar10(data_url="nonsense")
    assert server.requests == ["wrong"]


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_an_archive_in_the_folder_is_unpacked(server, tmp_path, archives, kind):
    archive = tmp_path / f"cifar-10-{kind}.tar.gz"
    archive.write_bytes(archives[kind])
    assert find_cifar10(tmp_path, download=False) == tmp_path and holds_the_images(tmp_path)
    assert archive.read_bytes() == archives[kind], "it is the user's file and stays"


def test_a_damaged_archive_is_named_not_unpacked(server, tmp_path, archives):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archives["binary"][:-1])
    with pytest.raises(DatasetError, match=r"cifar-10-binary.tar.gz: .* cut short .*get a whole copy") as caught:
        find_cifar10(tmp_path)
    assert not isinstance(caught.value, DatasetUnavailable)
    with pytest.raises(DatasetError, match="cut short"):  # nor does "auto" hide it behind the shapes
        load("auto", data_dir=tmp_path)
    assert server.requests == [] and len(list(tmp_path.iterdir())) == 1


def test_a_damaged_archive_in_the_cache_is_downloaded_again(server, tmp_path):
    (tmp_path / "cache" / "minires").mkdir(parents=True)
    (tmp_path / "cache" / "minires" / "cifar-10-binary.tar.gz").write_bytes(b"half of it")
    server.use("binary")
    assert holds_the_images(find_cifar10())
    assert server.requests == ["binary"]


def test_an_interrupted_unpacking_leaves_nothing_that_looks_complete(server, tmp_path, monkeypatch):
    server.use("binary")
    copies = itertools.count()
    copy = archives_module.shutil.copyfileobj

    def interrupted(source, target):
        if next(copies) == 3:
            target.write(source.read(100))
            raise KeyboardInterrupt
        copy(source, target)

    monkeypatch.setattr(archives_module.shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_cifar10()
    cache = tmp_path / "cache" / "minires"
    assert [path.name for path in cache.iterdir()] == ["cifar-10-binary.tar.gz"]
    assert find_cifar10(download=False) == cache and holds_the_images(cache)  # from the archive that was kept
    assert server.requests == ["binary"]


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    server.use("slow")

    class Bar:
        def update(self, _):
            raise KeyboardInterrupt

        def close(self):
            pass

    monkeypatch.setattr(receiving, "_progress_bar", lambda total: Bar())
    with pytest.raises(KeyboardInterrupt):
        find_cifar10()
    assert list((tmp_path / "cache" / "minires").iterdir()) == []


def test_an_official_archive_in_part(server, tmp_path, archives, monkeypatch):
    folder = write_binary(tmp_path / "part", BATCHES)
    (folder / "data_batch_4.bin").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cifar-10-binary.tar.gz").write_bytes(make_archive(folder))
    with pytest.raises(DatasetError, match=r"tar.gz: the archive lacks cifar-10-batches-bin/data_batch_4.bin; get a"):
        find_cifar10(tmp_path / "mine")


def test_links_and_paths_out_of_the_folder_are_never_written(server, tmp_path, archives, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in CIFAR10.binary.files:
            link = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        out = tarfile.TarInfo("../escaped")
        out.size = 3
        tar.addfile(out, io.BytesIO(b"out"))
    content = buffer.getvalue()
    hostile = archives_module.Archive("cifar-10-binary.tar.gz", hashlib.md5(content).hexdigest(), CIFAR10.binary)
    monkeypatch.setattr(download, "ARCHIVES", (hostile,))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"tar.gz: holds no cifar-10-batches-bin or .*unpack it"):
        find_cifar10(tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cifar-10-binary.tar.gz", "mine"]


def test_a_file_or_an_unwritable_place_is_named(server, tmp_path):
    server.use("binary")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"file is a file: give the folder"):
        find_cifar10(tmp_path / "file")
    with pytest.raises(DatasetError, match=r"below: cannot be written to .*as data_dir"):
        find_cifar10(tmp_path / "file" / "below")
