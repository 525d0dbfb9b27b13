"""Durable writes over HTTP: small ones by many and by one, and images beside hashing and syncing the same bytes alone."""

import hashlib
import http.client
import os
import random
import struct
import threading
import time
import zlib

from .proc import MIB, median, peak, resident
from .rates import find_wrk, load
from .server import serving
from .table import Row, say, skipped, spread

MODEL = "m"
SETTINGS = "[sweep]\nlearning_rates = [0.1]\nlayers = [1]\nsteps = [1]\n"
LUA = os.path.join(os.path.dirname(__file__), "writes.lua")
WRITERS = 64
UPLOADERS = 16
IMAGES = 128
SIDE = 816


def writes(bench):
    """GET /createExperiment by 64 writers and by one; each answer is on the disk."""
    wrk = find_wrk()
    if not wrk:
        return [skipped("durable writes", "wrk is not installed and could not be: apt-get install wrk")]
    many, one = [], []
    with serving(bench.binary, bench.folder("writes"), SETTINGS) as server:
        server.client.get("/createModel", model_name=MODEL)
        url = f"http://{server.address}/"
        load(wrk, url, seconds=1, connections=WRITERS, script=[LUA, MODEL, "warm"])
        for number in range(bench.runs):
            many.append(load(wrk, url, connections=WRITERS, script=[LUA, MODEL, f"many{number}"])[0])
            one.append(load(wrk, url, connections=1, threads=1, script=[LUA, MODEL, f"one{number}"])[0])
            say(f"writes: {many[-1]:.0f} a second by {WRITERS} writers, {one[-1]:.0f} by one")
        say(f"writes: {resident(server.pid) / MIB:.1f} MiB resident after the load")
    whole = "{:.0f}".format
    return [
        Row(f"durable writes, {WRITERS} writers", spread(many, whole) + " /s", "", None, ">= 20000 /s", median(many) >= 20_000),
        Row("  one writer", spread(one, whole) + " /s", "", None, ">= 1000 /s", median(one) >= 1000),
    ]


def _picture(seed):
    """A PNG of noise, 2 MB."""
    rng = random.Random(seed)
    rows = b"".join(b"\0" + rng.randbytes(3 * SIDE) for _ in range(SIDE))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def _hasher():
    """The hash that the server takes where Python has it, else the fastest that it has."""
    try:
        import blake3
    except ImportError:
        return "blake2b", lambda body: hashlib.blake2b(body).digest()
    return "blake3", lambda body: blake3.blake3(body).digest()


def _by(workers, work, items):
    """Seconds that so many threads take for all items."""
    turns, failures = iter(items), []
    lock = threading.Lock()

    def run():
        try:
            state = work(None, None)
            while True:
                with lock:
                    item = next(turns, None)
                if item is None:
                    return
                work(state, item)
        except Exception as error:  # noqa: BLE001  every failure ends the figure
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"an upload failed: {failures[0]}")
    return time.perf_counter() - began


def uploads(bench):
    """16 uploads of 2 MB pictures at once, against hashing, writing and syncing the same bytes by as many threads."""
    name, digest = _hasher()
    rates, floors, peaks = [], [], []
    with serving(bench.binary, bench.folder("uploads"), SETTINGS) as server:
        server.client.get("/createModel", model_name=MODEL)
        host, port = server.address.split(":")
        alone = bench.folder("alone")

        def upload(connection, item):
            if item is None:
                return http.client.HTTPConnection(host, int(port), timeout=60)
            number, picture = item
            head = (
                '--b\r\nContent-Disposition: form-data; name="model_name"\r\n\r\nm\r\n'
                f'--b\r\nContent-Disposition: form-data; name="file"; filename="{number}.png"\r\n'
                "Content-Type: image/png\r\n\r\n"
            )
            body = head.encode() + picture + b"\r\n--b--\r\n"
            connection.request("POST", "/uploadTrainingImage", body, {"Content-Type": "multipart/form-data; boundary=b"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"answer {answer.status}")
            return None

        def write(_, item):
            if item is None:
                return
            number, picture = item
            path = os.path.join(alone, digest(picture).hex())
            with open(path, "wb", buffering=0) as file:
                file.write(picture)
                os.fsync(file.fileno())

        for number in range(bench.runs):
            pictures = [(number * IMAGES + one, _picture(number * IMAGES + one)) for one in range(IMAGES)]
            size = sum(len(picture) for _, picture in pictures) / 1e6
            turns = [(rates, upload), (floors, write)]
            for found, work in turns if number % 2 == 0 else reversed(turns):
                found.append(size / _by(UPLOADERS, work, pictures))
            peaks.append(peak(server.pid) / MIB)
            say(f"uploads: {rates[-1]:.0f} MB/s, alone {floors[-1]:.0f} MB/s; peak {peaks[-1]:.1f} MiB")
    ratio = median(rate / floor for rate, floor in zip(rates, floors, strict=True))
    whole = "{:.0f}".format
    beside = f"{name}, write, fsync: {spread(floors, whole)} MB/s"
    return [
        Row(f"{UPLOADERS} uploads of 2 MB", spread(rates, whole) + " MB/s", beside, ratio, "ratio >= 0.60", ratio >= 0.6),
        Row("  peak memory", f"{peaks[-1]:.1f} MiB", f"after {IMAGES} images: {peaks[0]:.1f}", peaks[-1] / peaks[0], "<= 4 MiB more", peaks[-1] <= peaks[0] + 4),
    ]
