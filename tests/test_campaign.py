"""The campaign: its runner sees every way in which a case can go wrong, and the attacks, each in its short form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from campaign.attack import attacks, generator
from campaign.bounds import bounded

TESTS = Path(__file__).resolve().parent


def campaign(folder, *flags):
    """-> (exit code, what was printed, the accounts) of a campaign whose accounts are in a folder."""
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
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


@pytest.mark.parametrize("name", attacks())
def test_short_form(name, tmp_path):
    code, output, accounts = campaign(tmp_path, "--attack", name, "--quick")
    assert code == 0, output
    assert accounts[name]["done"] == accounts[name]["count"] > 0
