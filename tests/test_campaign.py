"""The campaign: its runners see every way in which a case can go wrong, and the attacks, each in its short form."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from campaign.attack import MODULES, attacks, generator, targets
from campaign.bounds import bounded
from campaign.fuzzing import ABSENT
from campaign.mutators import within
from campaign.running import Campaign

from minires import checkpoint
from minires.data.headers import png_chunks

TESTS = Path(__file__).resolve().parent
PATHS = (str(TESTS), str(TESTS.parent))


def campaign(folder, *flags):
    """-> (exit code, what was printed, the accounts) of a campaign whose accounts are in a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "campaign", "--out", str(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    file = folder / "campaign.json"
    return done.returncode, done.stdout + done.stderr, json.loads(file.read_text())["accounts"] if file.exists() else {}


class TestRunner:
    def test_every_way_to_go_wrong_is_found_and_the_other_cases_run(self, tmp_path):
        code, output, accounts = campaign(tmp_path, "--modules", "campaign_sample")
        assert code == 1
        assert accounts["breaks"]["outcomes"] == {"even": 2, "odd": 2, "FOUND": 1}
        assert accounts["dies"]["outcomes"] == {"lives": 2, "FOUND": 1}
        assert accounts["hangs"]["outcomes"] == {"ends": 1, "FOUND": 1}
        assert accounts["counted"]["outcomes"] == {"one of three": 3}
        assert "FOUND by breaks, case 2: AssertionError: number 2 is broken" in output
        assert "case 1 died" in output and "case 0 hangs" in output
        finding = tmp_path / "findings" / "breaks-2"
        assert "no number is broken" in (finding / "finding.txt").read_text()
        assert int((finding / "files" / "drawn").read_text()) == generator(0, "breaks", 2).integers(10**9)

    def test_it_goes_on_where_it_stood(self, tmp_path):
        chosen = ("--modules", "campaign_sample", "--attack", "breaks")
        assert campaign(tmp_path, *chosen, "--quick")[2]["breaks"]["outcomes"] == {"even": 1, "odd": 1}
        code, output, accounts = campaign(tmp_path, *chosen)
        assert code == 1 and accounts["breaks"]["outcomes"] == {"even": 2, "odd": 2, "FOUND": 1}
        code, output, accounts = campaign(tmp_path, *chosen, "--seed", "1")
        assert code == 2 and "of seed 0, this is 1: name another folder" in output

    def test_unknown_attacks_are_named(self, tmp_path):
        code, output, _ = campaign(tmp_path, "--modules", "campaign_sample", "--attack", "sleeps")
        assert code == 2 and "no attack is called 'sleeps': there are breaks, dies, hangs, counted" in output


def fuzzing(folder, *flags, first=""):
    """-> (exit code, what was printed) of fuzzing, kept in a folder.   first: code that is run before."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])}
    code = f"import sys; {first}\nfrom campaign.fuzzing import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--out", str(folder), "--modules", "fuzz_sample", *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    return done.returncode, done.stdout + done.stderr


class TestFuzzing:
    @pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris, of the extra campaign")
    def test_an_exception_and_a_dead_process_are_found_and_their_inputs_kept(self, tmp_path):
        code, output = fuzzing(tmp_path, "--minutes", "0.1")
        assert code == 1
        (kept,) = (path for path in (tmp_path / "broken" / "findings").iterdir() if path.suffix != ".txt")
        assert kept.read_bytes()[:2] == b"ab" and "planted" in kept.with_name(f"{kept.name}.txt").read_text()
        deaths = [path for path in (tmp_path / "deadly" / "findings").iterdir() if path.suffix != ".txt"]
        assert deaths and all(path.name.startswith("died-3-") and b"x" in path.read_bytes() for path in deaths)
        assert list((tmp_path / "sound" / "findings").iterdir()) == []
        assert "FOUND in broken" in output and "FOUND in deadly" in output and "FOUND in sound" not in output

    def test_without_atheris_a_sentence_says_how_to_get_it(self, tmp_path):
        code, output = fuzzing(tmp_path, first="sys.modules['atheris'] = None")
        assert code == 2 and output == f"error: {ABSENT}\n"

    def test_targets_are_listed_and_unknown_ones_named(self, tmp_path):
        assert fuzzing(tmp_path, "--list") == (0, "broken\ndeadly\nsound\n")
        code, output = fuzzing(tmp_path, "missing")
        assert code == 2 and output == "error: no target is called 'missing': there are broken, deadly, sound\n"


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's word, as an entry is put in twice
class TestMutators:
    """What is changed within a file is reached by its reader: lengths and checksums fit."""

    def changed(self, target):
        seeds = targets()[target].seeds()
        made = {within(seeds[0], np.random.default_rng(n), lambda piece: piece[:-1] + b"~") for n in range(60)}
        assert len(made) > 3
        return made

    @pytest.mark.parametrize("target", ["npz", "zip"])
    def test_of_a_zip(self, target):
        for content in self.changed(target):
            assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None

    def test_of_a_png(self):
        for content in self.changed("headers of pictures"):
            for _, at, end in png_chunks(content):
                assert zlib.crc32(content[at + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")

    def test_of_a_tar(self):
        for content in self.changed("tar"):
            assert int(content[148:154], 8) in tarfile.calc_chksums(content[:512])

    def test_of_a_checkpoint(self, tmp_path):
        said = []
        for content in self.changed("checkpoint"):
            (tmp_path / "a").write_bytes(content)
            try:
                checkpoint.load(tmp_path / "a")
            except checkpoint.CheckpointError as error:
                said.append(str(error))
        assert any("its metadata" in message for message in said), "none had a checksum that fits"


class TestBounds:
    def test_time_and_memory_and_words_are_looked_at(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"1")

        def slow(path):
            for _ in range(10**7):
                pass

        def large(path):
            np.ones(40_000_000)

        def rude(path):
            raise ValueError("\x1b[2J")

        def foreign(path):
            raise KeyError("x")

        with pytest.raises(AssertionError, match=r"took .* s for 1 bytes"):
            bounded(slow, path, seconds=0.01)
        with pytest.raises(AssertionError, match="MB for 1 bytes, 200 are allowed"):
            bounded(large, path)
        with pytest.raises(AssertionError, match="a terminal would obey"):
            bounded(rude, path)
        with pytest.raises(KeyError):
            bounded(foreign, path)
        assert bounded(lambda path: path.read_bytes(), path) == "read"


@pytest.mark.parametrize("module", MODULES)
def test_short_forms(module, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]))
    short = Campaign(tmp_path, attacks([module]), seed=0, code="", quick=True)
    for name, account in short.accounts.items():
        short.run(name, seconds=300)
        assert not account.findings, account.findings[0]
        assert account.done == account.count > 0
