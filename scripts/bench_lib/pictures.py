"""A dataset of many images, filled by one zip file, and how its page answers.

fill() is for whoever needs such a dataset; measure() takes the figures. By itself:

    python3 -m bench_lib.pictures http://127.0.0.1:8080 [IMAGES [SERVER_PID]]      (in scripts/)
"""

import http.client
import io
import json
import random
import struct
import sys
import time
import urllib.parse
import urllib.request
import zipfile
import zlib

CLASSES = 10
SIDE = 28
MARK = "bench-boundary-91c2"


def picture(number):
    """A grey PNG of noise, other bytes for each number."""
    noise = random.Random(number).randbytes(SIDE * SIDE)
    lines = b"".join(b"\0" + noise[at : at + SIDE] for at in range(0, SIDE * SIDE, SIDE))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def archive(count):
    """A zip file of so many pictures in ten classes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for number in range(count):
            file.writestr(f"class {number % CLASSES}/{number:06}.png", picture(number))
    return out.getvalue()


def fill(address, model, dataset, count):
    """Makes model and dataset where they are not there and adds `count` pictures. Returns the server's report."""
    for call in (f"createModel?model_name={model}", f"createDataset?model_name={model}&dataset_name={dataset}"):
        try:
            urllib.request.urlopen(f"{address}/{call}").read()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
    head = f'--{MARK}\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'.encode()
    body = head + archive(count) + f"\r\n--{MARK}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={MARK}"}
    target = f"{address}/api/v1/models/{model}/datasets/{dataset}/archive"
    with urllib.request.urlopen(urllib.request.Request(target, body, kind)) as answer:
        last = json.loads(answer.read().splitlines()[-1])
    if last["type"] != "done" or last["refused"]:
        raise RuntimeError(f"the dataset was not filled: {last}")
    return last


def asked(address, path, times=15):
    """Milliseconds to the first byte and to the last, both the median, and how many bytes that were."""
    host = urllib.parse.urlsplit(address).netloc
    first, whole, size = [], [], 0
    for _ in range(times):
        connection = http.client.HTTPConnection(host)
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        first.append(time.perf_counter() - began)
        size = len(answer.read())
        whole.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        connection.close()
    middle = lambda values: round(sorted(values)[len(values) // 2] * 1000, 1)
    return middle(first), middle(whole), size


def measure(address, model, dataset):
    """Path -> (first byte in ms, whole in ms, bytes) of what a person with many images waits for."""
    page = f"/models/{model}/datasets/{dataset}"
    base = f"/api/v1{page}"
    number = json.load(urllib.request.urlopen(f"{address}{base}"))["version"]
    paths = {
        "the page": page,
        "one class of it": f"{page}?label=class+7",
        "its duplicates": f"{page}/duplicates",
        "its versions, two compared": f"{page}/versions?from={number - 500}&to={number}",
        "the balance of a version half way": f"{base}/versions/{number // 2}/balance",
    }
    return {name: asked(address, path) for name, path in paths.items()}


def resident(pid):
    """The most that a process has held, and what it holds, in MiB."""
    lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status", encoding="ascii"))
    return {key: int(lines[key].split()[0]) // 1024 for key in ("VmHWM", "VmRSS")}


def main():
    address, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    began = time.perf_counter()
    report = fill(address, "many", "pictures", count)
    print(f"{report['added']} images of one zip file added in {time.perf_counter() - began:.1f} s")
    for name, (first, whole, size) in measure(address, "many", "pictures").items():
        print(f"{name}: first byte after {first} ms, all after {whole} ms, {size / 1024:.0f} KiB")
    began, size = time.perf_counter(), 0
    with urllib.request.urlopen(f"{address}/api/v1/models/many/datasets/pictures/export.zip") as answer:
        while piece := answer.read(1 << 16):
            size += len(piece)
    print(f"export of {size / 1048576:.1f} MiB in {time.perf_counter() - began:.1f} s")
    if len(sys.argv) > 3:
        print("memory in MiB:", resident(sys.argv[3]))


if __name__ == "__main__":
    main()
