"""A server under measurement, the peer beside it, and a client that speaks to either."""

import http.client
import json
import os
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import zlib
from contextlib import contextmanager

START_SECONDS = 30
STOP_SECONDS = 30

# The one interpreter of both sides: a shim in front of it would cost more than what is measured.
PYTHON = os.path.realpath("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable)


def environment():
    """What both sides get: nothing of the caller's that could change a figure."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


class Client:
    """One kept-alive connection to a server."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=300)

    def _send(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return text

    def text(self, path, **query):
        """GET, as bytes."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return self._send("GET", path)

    def get(self, path, **query):
        """GET, as JSON."""
        return json.loads(self.text(path, **query))

    def upload(self, model, name, image, **fields):
        """POST one image."""
        mark = "bench-boundary-7f3a"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
            for field, value in {"model_name": model, **fields}.items()
        ]
        parts.append(
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n".encode()
        )
        body = b"".join([*parts, image, f"\r\n--{mark}--\r\n".encode()])
        self._send("POST", "/uploadTrainingImage", body, {"Content-Type": f"multipart/form-data; boundary={mark}"})

    def waiting(self):
        """How many runs wait or run."""
        queue = self.get("/api/v1/queue")
        return queue["queued"] + queue["running"]

    def wait_until_idle(self, every):
        """Returns once nothing waits and nothing runs."""
        while self.waiting():
            time.sleep(every)

    def accuracies(self, model):
        """Every accuracy that the model has, as text."""
        body = self.get("/allAccuracies", model_name=model)["body"]
        return [result["accuracy"] for experiment in body["AllExperiments"] for result in experiment["accuracies"]]


def _announced(process, before, after):
    """The rest of the output line that starts with `before`, up to `after`."""
    patience = threading.Timer(START_SECONDS, process.kill)
    patience.start()
    try:
        for line in process.stdout:
            if line.startswith(before):
                return line.removeprefix(before).split(after)[0].strip()
    finally:
        patience.cancel()
    status = process.wait()
    raise RuntimeError(f"{process.args[0]} did not listen within {START_SECONDS} s, or ended first; status {status}")


def _end(process):
    """Stops a process, kindly first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{process.args[0]} did not stop within {STOP_SECONDS} s of SIGTERM") from None
    process.stdout.close()


class Server:
    """`trainyard serve` on a free port, with its data below `folder`."""

    def __init__(self, binary, folder, settings=""):
        os.makedirs(folder, exist_ok=True)
        self.folder = os.path.join(folder, "data")
        self.log = os.path.join(folder, "server.log")
        config = os.path.join(folder, "config.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(settings)
        command = [binary, "serve", "--config", config, "--listen", "127.0.0.1:0", "--data-dir", self.folder]
        with open(self.log, "a", encoding="utf-8") as log:
            began = time.perf_counter()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment(), text=True
            )
        try:
            self.address = _announced(self.process, "listening on http://", "\n")
            self.client = Client(self.address)
            self.client.text("/healthz")
        except BaseException:
            self.kill()
            raise
        self.start_seconds = time.perf_counter() - began
        self.pid = self.process.pid

    def stop(self):
        """SIGTERM, and an end within reason."""
        _end(self.process)

    def kill(self):
        """Without a chance to finish anything."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def serving(binary, folder, settings=""):
    """A server for the length of a block."""
    server = Server(binary, folder, settings)
    try:
        yield server
    finally:
        server.stop()


class Peer:
    """The least that a server in Python takes: its standard library's, serving nothing."""

    NAME = "python3 -m http.server"

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        command = [PYTHON, "-m", "http.server", "--bind", "127.0.0.1", "--directory", folder, "0"]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        try:
            port = _announced(self.process, "Serving HTTP on 127.0.0.1 port ", " ")
            Client(f"127.0.0.1:{port}").text("/")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.start_seconds = time.perf_counter() - began
        self.pid = self.process.pid


@contextmanager
def peer_serving(folder):
    """The peer for the length of a block."""
    peer = Peer(folder)
    try:
        yield peer
    finally:
        _end(peer.process)


def png(side=32, seed=0):
    """A grey image of `side` by `side` pixels; another seed makes another image."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(
        b"\0" + bytes((x * 7 + y * 13 + seed * 31) % 256 for x in range(side)) for y in range(side)
    )
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
