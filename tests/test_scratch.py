"""Folders that are worked in beside the data: gone in the end, and those of killed processes at the next start."""

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_data_cifar import make_batches, write_binary
from test_data_download import Server, holds_the_images, make_archive

from minires.data import download, find_cifar10, scratch
from minires.data.archives import Archive, unpack
from minires.data.cifar_kinds import CIFAR10
from minires.data.scratch import clear
from minires.data.scratch import scratch as scratch_folder

ROOT = Path(__file__).resolve().parent.parent
DOWNLOADS = "from minires.data import find_cifar10\nfind_cifar10({place!r}, {url!r}, progress=False)"
UNPACKS = """
import shutil, time
from pathlib import Path
from minires.data import archives, find_cifar10
copy = shutil.copyfileobj
def stops(source, target):
    target.write(source.read(1000))
    target.flush()
    time.sleep(600)
archives.shutil.copyfileobj = stops
find_cifar10({place!r}, download=False)
"""
WORKS = """
import time
from pathlib import Path
from minires.data.scratch import scratch
with scratch(Path({place!r}), "working") as folder:
    (folder / "half").write_bytes(b"1")
    time.sleep(600)
"""


class Half(Server):
    """A server with one page more: a hundred thousand bytes of a million."""

    def half(self, handler):
        self.send(handler, bytes(100_000), 10**6)
        handler.wfile.flush()
        self.over.wait(60)


@contextlib.contextmanager
def process(code, is_at_work):
    """A process that runs the code, once it is at work."""
    running = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, env=os.environ)
    try:
        end = time.monotonic() + 60
        while not is_at_work():
            assert running.poll() is None, running.stderr.read()
            assert time.monotonic() < end, "it never begins"
            time.sleep(0.01)
        yield running
    finally:
        running.kill()
        running.wait()
        running.stderr.close()


@pytest.fixture
def server():
    batches = make_batches()
    server = Half({"binary": b""})
    server.make = lambda folder: make_archive(write_binary(folder, batches))
    yield server
    server.over.set()
    server.http.shutdown()
    server.http.server_close()


def worked_on(place):
    """Files with something in them, in hidden folders."""
    found = [path for path in place.rglob("*") if path.is_file() and "/." in path.as_posix()]
    return [path for path in found if path.stat().st_size and path.name != scratch.LOCK]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
class TestKilled:
    def test_while_it_downloads(self, tmp_path, server):
        server.make(tmp_path / "made")
        place = tmp_path / "place"
        code = DOWNLOADS.format(place=str(place), url=server.url("half"))
        with process(code, lambda: worked_on(place)) as running:
            running.send_signal(signal.SIGKILL)
            running.wait()
        assert worked_on(place), "what is tested is not there"
        (tmp_path / "made" / "cifar-10-batches-bin").rename(place / "cifar-10-batches-bin")
        assert find_cifar10(place) == place and holds_the_images(place)
        assert [path.name for path in place.iterdir()] == ["cifar-10-batches-bin"]

    def test_while_it_unpacks(self, tmp_path, server):
        place = tmp_path / "place"
        place.mkdir()
        (place / "cifar10.tar.gz").write_bytes(server.make(tmp_path / "made"))
        with process(UNPACKS.format(place=str(place)), lambda: worked_on(place)) as running:
            running.send_signal(signal.SIGKILL)
            running.wait()
        assert worked_on(place), "what is tested is not there"
        assert find_cifar10(place, download=False) == place and holds_the_images(place)
        assert sorted(path.name for path in place.iterdir()) == ["cifar-10-batches-bin", "cifar10.tar.gz"]

    def test_while_it_lives_its_folder_stays(self, tmp_path):
        with process(WORKS.format(place=str(tmp_path)), lambda: worked_on(tmp_path)) as running:
            clear(tmp_path)
            with scratch_folder(tmp_path, "working") as mine:
                assert len(list(tmp_path.iterdir())) == 2
            assert not mine.exists() and worked_on(tmp_path)
            running.send_signal(signal.SIGKILL)
            running.wait()
        clear(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestWhatIsNobodys:
    def test_folders_without_a_lock_and_links_stay(self, tmp_path):
        mine, elsewhere, place = tmp_path / "place" / ".minires-my-notes", tmp_path / "elsewhere", tmp_path / "place"
        mine.mkdir(parents=True)
        elsewhere.mkdir()
        for folder in (mine, elsewhere):
            (folder / "file").write_text("mine")
        (elsewhere / scratch.LOCK).write_text("")
        (place / ".minires-unpacking-a").symlink_to(elsewhere)
        (place / ".minires-unpacking-b").mkdir()
        (place / ".minires-unpacking-b" / scratch.LOCK).symlink_to(elsewhere / "file")
        (place / ".minires-unpacking-c").write_text("a file")
        (place / ".minires-unpacking-d").mkdir()  # its process was killed before it wrote
        clear(place)
        assert sorted(path.name[-1] for path in place.iterdir()) == ["a", "b", "c", "s"]
        assert sorted(path.name for path in elsewhere.iterdir()) == ["file", scratch.LOCK]
        assert (mine / "file").read_text() == (elsewhere / "file").read_text() == "mine"

    def test_without_locks_work_goes_on_and_nothing_is_taken_for_left(self, tmp_path, monkeypatch):
        def none(descriptor):
            raise OSError(errno.ENOTSUP, "not supported")

        monkeypatch.setattr(scratch, "try_to_lock", none)
        with scratch_folder(tmp_path, "working") as first:
            (first / "file").write_text("half")
            with scratch_folder(tmp_path, "working") as second:
                assert first != second and (first / "file").exists()
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_another_process_takes_away_at_once_is_made_again(self, tmp_path, monkeypatch):
        tries = []

        def taken(descriptor):
            tries.append(descriptor)
            return len(tries) > 1

        monkeypatch.setattr(scratch, "try_to_lock", taken)
        with scratch_folder(tmp_path, "working") as folder:
            assert folder.is_dir() and len(tries) == 2


def test_two_who_download_at_once_both_get_the_data(tmp_path, server, monkeypatch):
    """What the first unpacks from is not the second's to replace, nor to remove."""
    content = server.archives["binary"] = server.make(tmp_path / "made")
    known = Archive("cifar-10-binary.tar.gz", hashlib.md5(content).hexdigest(), CIFAR10.binary)
    monkeypatch.setattr(download, "ARCHIVES", (known,))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    inner = unpack

    def after_another(path, *others):
        monkeypatch.setattr(download.archives, "unpack", inner)
        find_cifar10(tmp_path / "place", server.url("binary"), progress=False)
        inner(path, *others)

    monkeypatch.setattr(download.archives, "unpack", after_another)
    assert holds_the_images(find_cifar10(tmp_path / "place", server.url("binary"), progress=False))
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["cifar-10-batches-bin"]
    assert server.requests == ["binary", "binary"]
