"""Idle processor time, the demo, equal images, the size of the release file."""

import os
import re
import subprocess
import time

from .proc import MIB, TICKS_PER_SECOND, children, median, ticks, tree_use, wake_ups
from .server import PYTHON, Peer, environment, peer_serving, png, serving
from .sweeps import settings
from .table import Row, say, skipped, spread

IDLE_SECONDS = 10
DEMO_SECONDS = 60
DEMO_LIMIT_SECONDS = 600
COPIES = 1000

# Counts what the server hands to a training script, and says so in the run's log.
COUNT_PY = """\
import os, sys
folder = sys.argv[sys.argv.index("--images") + 1]
entries = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
print("entries", len(entries), "files", len({os.path.realpath(entry) for entry in entries}))
print("accuracy=0.5")
"""


def idle(bench):
    """Processor time of a server that nobody asks anything."""
    used, woken, peer_used = [], [], []
    with (
        serving(bench.binary, bench.folder("idle"), settings(["/bin/echo"])) as server,
        peer_serving(bench.folder("peer")) as peer,
    ):
        processes = [server.pid, *children(server.pid)]
        count = lambda what: sum(what(pid) for pid in processes)
        time.sleep(1)
        for _ in range(bench.runs):
            before = count(ticks), count(wake_ups), ticks(peer.pid)
            time.sleep(IDLE_SECONDS)
            used.append(count(ticks) - before[0])
            woken.append(count(wake_ups) - before[1])
            peer_used.append(ticks(peer.pid) - before[2])
    whole = lambda value: f"{value:.0f}"
    milliseconds = 1000 / TICKS_PER_SECOND
    return [
        Row(
            f"idle processor time in {IDLE_SECONDS} s",
            f"{spread(used, whole)} ticks of {milliseconds:.0f} ms",
            f"{Peer.NAME}: {spread(peer_used, whole)} ticks",
            None,
            "0 ticks",
            median(used) == 0,
        ),
        Row("  switches of its threads meanwhile", spread(woken, whole)),
    ]


def _best_accuracy(out):
    """The accuracy on the last line that speaks of the best one."""
    found = None
    for line in out.splitlines():
        if not re.search(r"\bbest\b", line, re.IGNORECASE):
            continue
        named = re.search(r"accuracy\W{0,3}(0\.\d+|1(?:\.0+)?)\b", line, re.IGNORECASE)
        plain = re.findall(r"\b(0\.\d+|1\.0+)\b", line)
        if named or plain:
            found = float(named[1]) if named else max(map(float, plain))
    return found


def demo(bench):
    """`trainyard demo`: how long it takes and what it reaches."""
    usage = subprocess.run([bench.binary, "--help"], check=True, capture_output=True, text=True).stdout
    if not re.search(r"^\s+demo\b", usage, re.MULTILINE):
        return [skipped("trainyard demo", "this binary has no demo yet")]
    took, best = [], []
    for _ in range(bench.runs):
        began = time.perf_counter()
        done = subprocess.run(
            [bench.binary, "demo"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEMO_LIMIT_SECONDS,
            cwd=bench.folder("demo"),
            env=environment() | {"TMPDIR": bench.folder("demo")},
        )
        took.append(time.perf_counter() - began)
        if done.returncode != 0:
            raise RuntimeError(f"the demo ended with status {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        best.append(_best_accuracy(done.stdout))
        say(f"demo: {took[-1]:.1f} s, best accuracy {best[-1]}")
    if None in best:
        raise RuntimeError(f"the demo names no best accuracy:\n{done.stdout[-1500:]}")
    seconds = spread(took, "{:.1f}".format)
    recorded = "recorded, same data: "
    return [
        Row(
            "demo, wall time",
            f"{seconds} s",
            recorded + "PyTorch 73 s, sklearn 47",
            median(took) / 73,
            f"< {DEMO_SECONDS} s",
            median(took) < DEMO_SECONDS,
        ),
        Row(
            "demo, best held-out accuracy",
            spread(best, "{:.4f}".format),
            recorded + "0.9944, 0.9917",
            median(best) / 0.9944,
            ">= 0.97",
            median(best) >= 0.97,
        ),
    ]


def dedupe(bench):
    """One image under many names."""
    folder = bench.folder("dedupe")
    script = os.path.join(folder, "count.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(COUNT_PY)
    image = png(side=256)
    with serving(bench.binary, folder, settings([PYTHON, script])) as server:
        client, blobs = server.client, os.path.join(server.folder, "blobs")
        client.get("/createModel", model_name="m")
        client.upload("m", "digit_0.png", image)
        one = tree_use(blobs)
        began = time.perf_counter()
        for number in range(1, COPIES):
            client.upload("m", f"digit_{number}.png", image)
        took = time.perf_counter() - began
        all_of_them = tree_use(blobs)
        run = client.get("/train", model_name="m", experiment_name="default_1")["run_id"]
        client.wait_until_idle(every=0.02)
        log = client.text(f"/api/v1/runs/{run}/log").decode()
    counted = re.search(r"entries (\d+) files (\d+)", log)
    if not counted:
        raise RuntimeError(f"the counting run failed: {log}")
    entries, files = int(counted[1]), int(counted[2])
    return [
        Row(
            f"one image under {COPIES:,} names",
            f"{entries:,} in {files} file, {all_of_them[1]:,} B",
            f"under one name: {one[0]} file, {one[1]:,} B",
            all_of_them[1] / one[1],
            "ratio 1.00",
            entries == COPIES and files == 1 and all_of_them == one,
        ),
        Row("  an upload, one connection", f"{took / (COPIES - 1) * 1000:.2f} ms"),
    ]


def size(bench):
    """The release file."""
    path = os.path.join(bench.checkout, "target", "trainyard")
    if not os.path.exists(path):
        return [skipped("release file", "no target/trainyard; see scripts/build-release")]
    taken = os.path.getsize(path)
    beside = f"this interpreter alone: {os.path.getsize(PYTHON) / MIB:.1f} MiB"
    return [
        Row("release file", f"{taken / MIB:.1f} MiB", beside, taken / os.path.getsize(PYTHON), "<= 20 MiB", taken <= 20 * MIB)
    ]
