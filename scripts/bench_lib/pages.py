"""What the pages cost: with many runs and images, in a browser, and with many windows open."""

import json
import os
import shutil
import socket
import subprocess
import time
from urllib.request import Request, urlopen

from . import pictures
from .proc import MIB, TICKS_PER_SECOND, median, resident, ticks
from .server import serving
from .sweeps import ready_model, settings
from .table import Row, say, skipped, spread

RUNS = 10_000
IMAGES = 20_000
WINDOWS = 200
WATCH_SECONDS = 10
MODEL = "many"
DATASET = "pictures"

# Every result another accuracy, and a point on the way to it.
TRAINER = """\
#!/bin/sh
echo "{\\"step\\": 1, \\"loss\\": 0.5}"
echo "accuracy=0.$(( (10000 + ($6 * 7919 + $4 * 104729) % 90000) ))"
"""

# One that goes on until it is stopped, with five points a second.
TALKER = """\
#!/bin/sh
step=0
while sleep 0.2; do step=$((step + 1)); echo "{\\"step\\": $step, \\"loss\\": 0.5}"; done
"""

HTML = {"Accept": "text/html"}


def _script(folder, text):
    path = os.path.join(folder, "trainer.sh")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def _fetch(address, place):
    """Milliseconds to the first byte of a page, and how many bytes it has."""
    began = time.perf_counter()
    with urlopen(Request(f"http://{address}{place}", headers=HTML), timeout=60) as answer:
        first = answer.read(1)
        passed = (time.perf_counter() - began) * 1000
        return passed, len(first) + len(answer.read())


def _places(client):
    """Every kind of page, by what it is called."""
    runs = client.get("/api/v1/runs", model=MODEL, limit=3)["data"]
    ids = [run["id"] for run in runs]
    model = f"/models/{MODEL}"
    return {
        "models": "/",
        "model": model,
        "model, by steps": f"{model}?sort=steps&order=desc",
        "model, page 150": f"{model}?page=150",
        "experiments": f"{model}/experiments",
        "runs": f"{model}/runs",
        "failed runs": f"{model}/runs?state=failed",
        "sweeps": f"{model}/sweeps",
        "sweep": f"/sweeps/{runs[0]['sweep_id']}",
        "model settings": f"{model}/settings",
        "dataset": f"{model}/datasets/{DATASET}",
        "one label of it": f"{model}/datasets/{DATASET}?label=class+7",
        "its duplicates": f"{model}/datasets/{DATASET}/duplicates",
        "its versions": f"{model}/datasets/{DATASET}/versions",
        "all images": f"{model}/datasets/_all",
        "run": f"/runs/{ids[0]}",
        "compare": f"/compare?runs={','.join(ids)}",
        "queue": "/queue",
        "settings": "/settings",
        "audit log": "/settings/audit",
        "data": "/settings/data",
    }


def _at_most(figure, value, form, limit, beside=""):
    return Row(figure, form(value), beside, target=f"<= {form(limit)}", ok=value <= limit)


def _weights(bench, server):
    """First bytes and sizes of all pages."""
    places = _places(server.client)
    slowest, largest = ("", 0.0), ("", 0)
    for name, place in places.items():
        taken = [_fetch(server.address, place) for _ in range(max(3, bench.runs))]
        slowest = max(slowest, (name, median([first for first, _ in taken])), key=lambda one: one[1])
        largest = max(largest, (name, taken[0][1]), key=lambda one: one[1])
    many = f"{len(places)} pages, {RUNS:,} runs, {IMAGES:,} images"
    return places, [
        _at_most("first byte of the slowest page", slowest[1], lambda ms: f"{ms:.0f} ms", 50, f"{many}: {slowest[0]}"),
        _at_most("the largest page", largest[1] / 1024, lambda kib: f"{kib:.0f} KiB", 300, f"{many}: {largest[0]}"),
        _at_most("memory after them", resident(server.pid) / MIB, lambda mib: f"{mib:.0f} MiB", 96),
    ]


def _assets(server, places):
    """All assets, as a browser gets them."""
    found = set()
    for place in places.values():
        with urlopen(Request(f"http://{server.address}{place}", headers=HTML), timeout=60) as answer:
            found |= {part.split('"')[0] for part in answer.read().decode().split('"/assets/')[1:]}
    total = 0
    for asset in found:
        request = Request(f"http://{server.address}/assets/{asset}", headers={"Accept-Encoding": "gzip"})
        with urlopen(request, timeout=60) as answer:
            total += len(answer.read())
    return _at_most(f"{len(found)} assets, packed", total / 1024, lambda kib: f"{kib:.0f} KiB", 600)


def _in_a_browser(bench, server, places):
    """Paints, interactions and news, as chromium has them."""
    modules = os.path.join(bench.checkout, "target/browser/node_modules/playwright-core")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not (shutil.which("node") and chromium and os.path.isdir(modules)):
        return [skipped("pages in a browser", "node, chromium and playwright-core are wanted: scripts/screenshots")]
    command = ["node", os.path.join(bench.checkout, "scripts/bench_lib/pages.js"), f"http://{server.address}"]
    given = {**os.environ, "TRAINYARD_BIN": bench.binary, "CHROMIUM": chromium}
    asked = json.dumps({"places": places, "model": MODEL, "gallery": places["dataset"], "rounds": max(3, bench.runs)})
    done = subprocess.run(command, input=asked, env=given, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    told = json.loads(done.stdout)
    form = lambda ms: f"{ms:.0f} ms"
    paints = {name: median(values) for name, values in told["paints"].items()}
    slowest = max(paints, key=paints.get)
    rows = [_at_most("largest contentful paint, slowest", paints[slowest], form, 500, f"{len(paints)} pages: {slowest}")]
    for name, values in told["interactions"].items():
        rows.append(Row(name, spread(values, form), target="<= 100 ms", ok=median(values) <= 100))
    frames = sorted(told["frames"])
    slow = frames[len(frames) * 95 // 100]
    beside = f"{len(frames)} frames, the longest {form(frames[-1])}, {told['shown']} images came by"
    rows.append(Row("a frame while the gallery scrolls", form(median(frames)), beside, target="<= 17 ms", ok=median(frames) <= 17.5))
    rows.append(Row("the slowest frames, 95th percentile", form(slow), beside, target="<= 67 ms", ok=slow <= 67))
    news = told["news"]
    rows.append(Row("a point, printed to shown", spread(news, form), target="<= 200 ms", ok=max(news) <= 200))
    return rows


def _windows(bench):
    """What many open pages cost while a run prints."""
    folder = bench.folder("windows")
    script = _script(folder, TALKER)
    with serving(bench.binary, folder, settings([script], ([0.1], [1], [1]))) as server:
        ready_model(server.client, MODEL)
        run = server.client.get("/runDefaultExperiments", model_name=MODEL)["run_ids"][0]
        host, port = server.address.split(":")
        before = resident(server.pid)
        windows = []
        for number in range(WINDOWS):
            query = f"run={run}&log=true" if number % 2 else f"model={MODEL}"
            window = socket.create_connection((host, int(port)))
            window.sendall(f"GET /api/v1/events?{query} HTTP/1.1\r\nHost: {server.address}\r\n\r\n".encode())
            windows.append(window)
        for window in windows:
            window.recv(1)
            window.setblocking(False)
        began, used = time.perf_counter(), ticks(server.pid)
        most, heard = 0, 0
        while time.perf_counter() - began < WATCH_SECONDS:
            time.sleep(0.5)
            for window in windows:
                try:
                    heard += len(window.recv(1 << 20))
                except BlockingIOError:
                    pass
            most = max(most, resident(server.pid))
        seconds = time.perf_counter() - began
        share = (ticks(server.pid) - used) / TICKS_PER_SECOND / seconds * 100
        for window in windows:
            window.close()
        server.client.connection.request("POST", f"/api/v1/runs/{run}/cancel")
        server.client.connection.getresponse().read()
    beside = f"5 points a second, {heard / MIB:.1f} MiB told in {seconds:.0f} s"
    return [
        _at_most(f"{WINDOWS} open pages: memory", max(0, most - before) / MIB, lambda mib: f"{mib:.1f} MiB", 32, beside),
        _at_most(f"{WINDOWS} open pages: of a core", share, lambda share: f"{share:.1f} %", 5, beside),
    ]


def pages(bench):
    """Every page's first byte, weight, paint and interactions; news; open windows."""
    folder = bench.folder("pages")
    script = _script(folder, TRAINER)
    grid = ([n / 1000 for n in range(1, 11)], list(range(1, 11)), list(range(1, RUNS // 100 + 1)))
    with serving(bench.binary, folder, settings([script], grid)) as server:
        ready_model(server.client, MODEL)
        server.client.get("/runDefaultExperiments", model_name=MODEL)
        server.client.wait_until_idle(every=0.5)
        began = time.perf_counter()
        pictures.fill(f"http://{server.address}", MODEL, DATASET, IMAGES)
        say(f"{IMAGES:,} images of one zip file are there after {time.perf_counter() - began:.1f} s")
        places, rows = _weights(bench, server)
        rows.append(_assets(server, places))
        rows += _in_a_browser(bench, server, places)
        rows.append(_at_most("memory at the end", resident(server.pid) / MIB, lambda mib: f"{mib:.0f} MiB", 96))
    return rows + _windows(bench)
