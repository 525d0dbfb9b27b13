"""A dataset of many images, filled by one zip file."""

import io
import json
import random
import struct
import urllib.error
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
