"""Request rates, taken with wrk."""

import os
import re
import shutil
import subprocess

from .proc import median, resident
from .server import environment, serving
from .stores import MODEL, MIB
from .sweeps import ready_model, settings
from .table import Row, say, skipped, spread

CONNECTIONS = 16
SECONDS = 3
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def find_wrk():
    """Where wrk is, installed first where that can be done; None where it cannot."""
    if not shutil.which("wrk") and shutil.which("apt-get") and os.geteuid() == 0:
        say("installing wrk")
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "wrk"]):
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return shutil.which("wrk")


def load(wrk, url, seconds=SECONDS, connections=CONNECTIONS, script=(), threads=2):
    """(requests a second, 99th percentile in ms); `script` is a file for wrk and its arguments."""
    command = [wrk, f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-s", script[0], url, "--", *script[1:]] if script else [url]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"requests failed:\n{out}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    return rate, float(value) * UNITS[unit]


def _few_results(client):
    """A model with its 100 results."""
    ready_model(client, MODEL)
    client.get("/runDefaultExperiments", model_name=MODEL)
    client.wait_until_idle(every=0.05)
    if len(client.accuracies(MODEL)) != 100:
        raise RuntimeError("the small store did not get its 100 results")


def best(bench):
    """GET /bestAccuracy against /healthz of the same server, and against a server with 100 results."""
    wrk = find_wrk()
    if not wrk:
        return [skipped("GET /bestAccuracy", "wrk is not installed and could not be: apt-get install wrk")]
    few = settings(["/bin/echo", "accuracy=0.5"], ([0.1], [1], list(range(1, 101))))
    path = f"/bestAccuracy?model_name={MODEL}"
    best_loads, health_loads, few_loads = [], [], []
    with bench.big.serving() as server, serving(bench.binary, bench.folder("few"), few) as small:
        _few_results(small.client)
        urls = [
            (f"http://{server.address}{path}", best_loads),
            (f"http://{server.address}/healthz", health_loads),
            (f"http://{small.address}{path}", few_loads),
        ]
        for url, _ in urls:
            load(wrk, url, seconds=1)
        for _ in range(bench.runs):
            for url, loads in urls:
                loads.append(load(wrk, url))
            rates = ", ".join(f"{loads[-1][0]:.0f}" for loads in (best_loads, health_loads, few_loads))
            say(f"best: requests a second {rates} (best, healthz, best of 100)")
        say(f"best: {resident(server.pid) / MIB:.1f} MiB resident after the load")
    return _rows(bench, best_loads, health_loads, few_loads)


def _rows(bench, best_loads, health_loads, few_loads):
    rates = [load[0] for load in best_loads]
    health, small = [load[0] for load in health_loads], [load[0] for load in few_loads]
    slowest, health_slowest = [load[1] for load in best_loads], [load[1] for load in health_loads]
    of_health = median(rate / floor for rate, floor in zip(rates, health, strict=True))
    of_small = median(rate / floor for rate, floor in zip(rates, small, strict=True))
    thousands = lambda value: f"{value / 1000:.1f}"
    measured = spread(rates, thousands) + " k/s"
    beside_health = f"/healthz: {spread(health, thousands)} k/s"
    tail = median(slowest)
    return [
        Row(f"best, {bench.results:,} results", measured, beside_health, of_health, "ratio >= 0.60", of_health >= 0.6),
        Row("  its rate alone", measured, beside_health, None, ">= 20 k/s", median(rates) >= 20_000),
        Row(
            "  its 99th percentile",
            spread(slowest, "{:.1f}".format) + " ms",
            f"/healthz: {spread(health_slowest, '{:.1f}'.format)} ms",
            tail / median(health_slowest),
            "< 10 ms",
            tail < 10,
        ),
        Row(
            "  against 100 results",
            measured,
            f"100 results: {spread(small, thousands)} k/s",
            of_small,
            "ratio >= 0.90",
            of_small >= 0.9,
        ),
    ]
