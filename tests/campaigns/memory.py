"""A machine of 1 GiB and one core: the demo and sweeps of 27 runs that each want 300 MiB finish, and whatever the kernel
kills for want of memory, it is never the server.

Usage: memory.py [--bin PATH] [--size MIB] [--keep]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cage import Cage, NoCage
from client import Client
from images import png
from server import Server, become_subreaper

TOP = Path(__file__).resolve().parents[2]

#: Takes as many MiB as the first argument says, touches all of them, and holds them for a while.
TRAIN = "import sys, time; held = bytearray(b'1') * (int(sys.argv[1]) << 20); time.sleep(0.3); print('accuracy=0.5')"

#: How long a sweep may take on a busy machine.
PATIENCE = 600


class Yard(Server):
    """A server in the cage whose runs want so many MiB."""

    def __init__(self, binary: Path, work: Path, settings: str, wants: str) -> None:
        self.settings, self.wants = settings, wants
        work.mkdir()
        super().__init__(binary, work, work / "data")

    def configure(self, more: str = "") -> None:
        self.config = self.work / "config.toml"
        # What a run wants may depend on its steps.
        script = f'exec {os.path.realpath(sys.executable)} -I -S -c "{TRAIN}" {self.wants}'
        command = json.dumps(["/bin/sh", "-c", script, "train", "--"])
        self.config.write_text(f"[jobs]\n{self.settings}\n[trainer]\ntrain = {command}\n{more}", encoding="utf-8")


class Findings(list):
    """What went wrong."""

    def check(self, holds: bool, what: str) -> None:
        """Notes what does not hold."""
        if not holds:
            print(f"memory: VIOLATION: {what}", flush=True)
            self.append(what)


def demo(cage: Cage, binary: Path, work: Path, found: Findings) -> None:
    """The demo in the cage."""
    began, kills = time.monotonic(), cage.kills()
    done = subprocess.run([*cage.prefix(), str(binary), "demo"], capture_output=True, text=True, check=False, cwd=work)
    found.check(done.returncode == 0, f"the demo ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")
    say("demo", began, cage.kills() - kills, "")


def sweep(cage: Cage, server: Yard, name: str, found: Findings, may_fail: str | None = None) -> None:
    """A sweep in the cage. All runs succeed but those that may fail, by the steps of their experiments."""
    began, kills = time.monotonic(), cage.kills()
    server.start(cage.prefix())
    client = Client(server)
    client.get("/createModel", model_name="m")
    client.upload("m", "", "", "digit_1.png", png(1))
    client.get("/runDefaultExperiments", model_name="m")
    waited, most = False, 0
    while time.monotonic() - began < PATIENCE:
        _, queue = client.get("/api/v1/queue")
        waited |= queue["waiting_for_memory"] is not None
        most = max(most, queue["running"])
        if queue["queued"] + queue["running"] == 0:
            break
        time.sleep(0.05)
    _, runs = client.runs("m")
    for run in runs:
        wanted = "failed" if str(run["steps"]) == may_fail else "succeeded"
        found.check(run["state"] == wanted, f"{name}: {run['experiment']} is {run['state']}: {run['reason']}")
        if run["state"] == "failed":
            found.check("memory" in run["reason"], f"{name}: the reason says nothing of memory: {run['reason']}")
    found.check(len(runs) == 27, f"{name}: {len(runs)} runs")
    found.check(not server.ended(), f"{name}: the server is gone; {server.tail()}")
    again = sum(run["attempts"] > 1 for run in runs)
    say(name, began, cage.kills() - kills, f", up to {most} at once, {again} tried again, waited for memory: {waited}")
    if not server.ended():
        status = server.stop()
        found.check(status == 0, f"{name}: the server ended with {status}")


def say(name: str, began: float, kills: int, rest: str) -> None:
    """One line."""
    print(f"memory: {name}: {time.monotonic() - began:.1f} s, {kills} killed by the kernel{rest}", flush=True)


def main() -> int:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(prog="memory", description=__doc__)
    parser.add_argument("--bin", type=Path, default=TOP / "target/release/trainyard", help="the executable")
    parser.add_argument("--size", type=int, default=1024, help="the machine's memory in MiB")
    parser.add_argument("--seed", type=int, default=0, help="taken and not needed: nothing here is random")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    binary = options.bin.resolve()
    if not binary.is_file():
        sys.exit(f"memory: there is no {binary}; build it with: cargo build --release, or say --bin PATH")
    found = Findings()
    become_subreaper()
    work = Path(tempfile.mkdtemp(prefix="trainyard-memory-"))
    try:
        with Cage(options.size << 20) as cage:
            print(f"memory: {options.size} MiB and one core, control groups of version {cage.version}", flush=True)
            demo(cage, binary, work, found)
            for slots in (1, 2, 8):
                server = Yard(binary, work / f"slots-{slots}", f"concurrency = {slots}", "300")
                sweep(cage, server, f"27 runs of 300 MiB, {slots} slots", found)
            settings = "concurrency = 8\nmemory_estimate_bytes = 16777216"
            server = Yard(binary, work / "unforeseen", settings, "300")
            sweep(cage, server, "the same, expected to be small", found)
            # $7 is the steps: -- --i RATE --j LAYERS --k STEPS
            wants = "$([ $7 = 2000 ] && echo 3000 || echo 200)"
            server = Yard(binary, work / "greedy", "concurrency = 2", wants)
            sweep(cage, server, "27 runs, 9 of which want 3000 MiB", found, may_fail="2000")
            print(f"memory: at most {cage.peak() >> 20} MiB in use, files included", flush=True)
    except NoCage as error:
        print(f"skipped: a machine of 1 GiB and one core, because {error}")
        return 0
    if found or options.keep:
        print(f"memory: kept in {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)
    print(f"memory: {len(found)} VIOLATIONS" if found else "memory: ok")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
