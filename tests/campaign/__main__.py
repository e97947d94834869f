"""Attacks on the promises that nothing is lost and nothing gets in, for as long as one likes.

    make campaign ARGS="--minutes 60"         every attack, an hour in all
    make campaign                             every attack in full: hours
    make campaign ARGS="--attack 'damaged checkpoints'"

What was done is kept in --out, so that the same command, on the same commit, goes on where it was stopped. Each case is
drawn from --seed, the attack's name and the case's number; the files of a case that broke a promise are kept in
--out/findings, and the exit code is then 1. Files that are made by what they reach in the readers are a command of its
own: make fuzz.
"""

import argparse
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from campaign.attack import MODULES, attacks
from campaign.running import Campaign

SLICE = 60.0  # seconds of an attack before the next one's turn
TOP = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = command_line().parse_args()
    known = attacks(arguments.modules.split(","))
    unknown = [name for name in arguments.attack or [] if name not in known]
    if unknown:
        print(f"error: no attack is called {unknown[0]!r}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = {name: known[name] for name in arguments.attack or known}
    if arguments.list:
        for attack in chosen.values():
            print(f"{attack.name}: {attack.promise} ({attack.full:,} cases{' at most' if attack.count else ''})")
        return 0
    try:
        campaign = Campaign(arguments.out, chosen, arguments.seed, code(), arguments.quick)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run(campaign, list(chosen), arguments.minutes * 60, arguments.jobs)
    print(table(campaign))
    return 1 if any(account.findings for account in campaign.accounts.values()) else 0


def run(campaign: Campaign, names: list[str], seconds: float, jobs: int) -> None:
    """Attacks take turns, `jobs` of them at a time, until all are done or the time is over."""
    until = time.monotonic() + seconds
    stopped = threading.Event()

    def turn(name):
        if not stopped.is_set():
            campaign.run(name, min(SLICE, until - time.monotonic()))
            account = campaign.accounts[name]
            print(f"{name}: {account.done:,} of {account.count:,}, {len(account.findings)} found", flush=True)

    try:
        while time.monotonic() < until and (open_ones := [name for name in names if _is_open(campaign, name)]):
            with ThreadPoolExecutor(jobs) as pool:
                for _ in pool.map(turn, open_ones):
                    pass
    except KeyboardInterrupt:
        stopped.set()
        print("stopped; the same command goes on from here", flush=True)
    campaign.save()


def _is_open(campaign, name):
    return campaign.accounts[name].done < campaign.accounts[name].count


def table(campaign: Campaign) -> str:
    """A table in Markdown: each attack, its cases, how they came out, and what was found."""
    rows = [f"seed {campaign.seed}, code {campaign.code}", "", "| attack | cases | outcomes | slowest, s | found |"]
    rows.append("|---|---|---|---|---|")
    for name, account in campaign.accounts.items():
        outcomes = ", ".join(f"{count:,} {word}" for word, count in sorted(account.outcomes.items()))
        cases = f"{account.done:,} of {account.count:,}"
        rows.append(f"| {name} | {cases} | {outcomes} | {account.slowest:.2f} | {len(account.findings)} |")
    for name, account in campaign.accounts.items():
        rows += [f"FOUND by {name}, case {one['number']}: {one['error']}" for one in account.findings]
    return "\n".join(rows)


def code() -> str:
    """The commit of the code, with "+" where it has been changed since."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=TOP, capture_output=True, text=True)
    return commit.stdout.strip() or "without a commit"


def command_line() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--minutes", type=float, default=float("inf"), help="of the clock; default: until every attack is done")
    add("--seed", type=int, default=0)
    add("--attack", nargs="+", metavar="NAME", help="only these; --list names them")
    add("--jobs", type=int, default=1, metavar="N", help="attacks at a time; default: 1")
    add("--out", type=Path, default=TOP / "runs" / "campaign", metavar="DIR")
    add("--quick", action="store_true", help="as few cases as the tests run")
    add("--modules", default=",".join(MODULES), help=argparse.SUPPRESS)
    add("--list", action="store_true", help="name the attacks and their promises")
    return parser


if __name__ == "__main__":
    sys.exit(main())
