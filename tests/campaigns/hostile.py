"""Requests that want out of bounds: names, labels, file names and numbers that lead elsewhere or say more than they
should, bombs, urls of what is inside, requests within requests, calls that other sites' pages make, guessed passwords.

Each is sent on a connection of its own and has to be answered with less than 500, or with 502, 503, 507 where that is
documented, or be cut off; nothing may appear outside the data folder.
"""

import concurrent.futures
import gzip
import http.client
import json
import os
import random
import re
import socket
import struct
import subprocess
import time
import urllib.parse
import zlib
from pathlib import Path

import images
from campaign import TOP, Campaign
from client import Client

#: How long an answer may take: guesses wait for their turn to be hashed.
PATIENCE = 60.0

#: What may not be asked, by what it means; each spelling leads to a machine or a network of ours.
INSIDE = """127.0.0.1 127.1 127.0.1 2130706433 2130706433. 017700000001 0x7f000001 0X7F.1 0x7f.0x0.0x0.0x1 0177.0.0.01
127.0.0.1. %31%32%37.0.0.1 127%2e0%2e0%2e1 127.255.255.254 0.0.0.0 0 0x0 localhost LOCALHOST. lo%63alhost a.localhost
[::1] [0:0:0:0:0:0:0:1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::]
10.1.2.3 167772161 012.0.0.1 172.16.0.1 192.168.0.1 0xc0a80001 [::ffff:10.0.0.1] [fc00::1] [fd00::1]
169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 [fe80::1] [fd00:ec2::254] 100.64.0.1
192.0.0.8 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 [ff02::1] １２７.０.０.１ ①②⑦.⓪.⓪.① 127。0。0。1""".split()

#: The same as whole urls, and what is no url that may be fetched.
URLS = """file:///etc/passwd ftp://127.0.0.1/ gopher://127.0.0.1:70/_x data:image/png;base64,AA jar:http://127.0.0.1!/
http://127.0.0.1\\@example.com/ http://127.0.0.1#@example.com/ http:127.0.0.1/ http:////127.0.0.1/ //127.0.0.1/
http://example.com@127.0.0.1/ http://u:p@example.com/ http://[fe80::1%25eth0]/ http://127.0.0.1:99999/ http://[::1
http://256.0.0.1/ http://1.2.3.4.5/ http:// http://%00/ -o/etc/x --help""".split()

#: Calls that change something, with parameters that would do.
CHANGES = [
    ("/createModel", "model_name=%s"),
    ("/createDataset", "model_name=strangers&dataset_name=%s"),
    ("/createExperiment", "model_name=strangers&experiment_name=%s&learning_rate=1&num_layers=1&num_steps=1"),
    ("/uploadTrainingImages", "model_name=strangers&image_urls=http://192.0.2.1/%s.png"),
    ("/train", "model_name=strangers&experiment_name=default_1&%s"),
    ("/runDefaultExperiments", "model_name=strangers&%s"),
]

EDGE = "hostile-edge"
FORM = f"multipart/form-data; boundary={EDGE}"
DOCUMENTED = {502, 503, 507}


def form(fields: dict[str, bytes], name: bytes, data: bytes) -> bytes:
    """A multipart body; names and values go in as they are."""
    parts = [b"--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (EDGE.encode(), key.encode(), value) for key, value in fields.items()]
    head = b"--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n\r\n" % (EDGE.encode(), name)
    return b"".join([*parts, head, data, f"\r\n--{EDGE}--\r\n".encode()])


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pixels(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that claims a size, with chunks before its few pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class Hostile:
    """Somebody who sends them; `mark` is in the name of every file that should never be."""

    def __init__(self, run: Campaign, dice: random.Random) -> None:
        self.run, self.dice = run, dice
        self.mark = f"pwned-{dice.randrange(1 << 40):x}"
        self.asked = 0

    # -- asking

    def send(self, data: bytes, source: str = "127.0.0.1") -> int | None:
        """The status of the first answer; None where the connection was cut off without one."""
        self.asked += 1
        answer = b""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            sock.bind((source, 0))
            sock.connect(("127.0.0.1", self.run.server.port))
            try:
                sock.sendall(data)
            except OSError:
                pass  # Refused before it was sent; the answer may be there.
            try:
                while b"\r\n\r\n" not in answer and (piece := sock.recv(65536)):
                    answer += piece
            except TimeoutError:
                self.run.violations.add(f"no answer within {PATIENCE:.0f} s to {data[:100]!r}")
            except OSError:
                pass
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        status = int(found[1]) if found else None
        if status is not None and status >= 500 and status not in DOCUMENTED:
            self.run.violations.add(f"{status} to {data[:200]!r}: {answer[-200:]!r}")
        return status

    def ask(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"", source: str = "127.0.0.1") -> int | None:
        """The status of an answer to a request that is one."""
        given = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in given.items())
        return self.send(head.encode() + b"\r\n" + body, source)

    def expect(self, what: str, status: int | None, *allowed: int | None) -> None:
        """A violation unless the answer is one of these."""
        if status not in allowed:
            self.run.violations.add(f"{what} was answered with {status}")

    def upload(self, name: bytes, data: bytes, path: str = "/uploadTrainingImage", **fields: bytes) -> int | None:
        """An image with whatever fields."""
        return self.ask("POST", path, {"Content-Type": FORM}, form({"model_name": b"strangers"} | fields, name, data))

    def trained(self, experiment: str) -> None:
        """Makes an experiment, trains it on all images and waits for its result."""
        client = Client(self.run.server)
        client.get("/createExperiment", model_name="strangers", experiment_name=experiment, learning_rate="1", num_layers="1", num_steps="1")
        client.get("/train", model_name="strangers", experiment_name=experiment)
        until = time.monotonic() + PATIENCE
        while (experiment, "") not in (client.results("strangers") or {}):
            if time.monotonic() > until:
                self.run.violations.add(f"the run of {experiment} has no result after {PATIENCE:.0f} s")
                return
            time.sleep(0.1)

    # -- what is asked

    def words(self) -> list[str]:
        """What no name may be."""
        mark = self.mark
        return [
            f"../{mark}", f"../../../../tmp/{mark}", f"/tmp/{mark}", f"..\\{mark}", f"a/{mark}", f"a\0{mark}", f"a\n{mark}",
            f"$(touch /tmp/{mark})", f"`touch /tmp/{mark}`", f";touch /tmp/{mark};", f"|touch /tmp/{mark}", f"&& touch {mark}",
            f"--images=/tmp/{mark}", "-rf", "--help", ".", "..", ".hidden", "%2e%2e", "a%00", "' OR 1=1 --", "{{7*7}}", "${x}",
            "\x1b[31m", "\u202egnp", "x" * 200, "run_0000000000016", "<script>", "\ufeffa", "ａ",
        ]  # fmt: skip

    def names(self) -> None:
        """Names, labels and hyper-parameters that lead elsewhere or say more than they should."""
        fixed = {"learning_rate": "0.1", "num_layers": "1", "num_steps": "1"}
        for word in self.words():
            quoted = urllib.parse.quote(word.encode(), safe="")
            for path, query in CHANGES[:3]:
                self.expect(f"{path} {word!r}", self.ask("GET", f"{path}?{query % quoted}"), 400)
            for path in ("/train", "/runDefaultExperiments", "/allAccuracies", "/bestAccuracy"):
                target = f"{path}?model_name={quoted}&experiment_name={quoted}&dataset_name={quoted}"
                self.expect(f"{path} {word!r}", self.ask("GET", target), 400)
            for field in ("model_name", "dataset_name"):
                status = self.upload(b"a.png", images.png(1), **{field: word.encode()})
                self.expect(f"{field} {word!r}", status, 400)
            for number in fixed:
                query = urllib.parse.urlencode({"model_name": "strangers", "experiment_name": "odd"} | fixed | {number: f"1 {word}"})
                self.expect(f"{number} {word!r}", self.ask("GET", f"/createExperiment?{query}"), 400)
            # Some of these are labels that a folder can bear; those are stored and trained on further down.
            self.expect(f"label {word!r}", self.upload(b"a.png", images.png(1), label=word.encode()), 200, 400)
            self.ask("GET", f"/api/v1/runs/{quoted}/log")
            self.ask("GET", f"/api/v1/runs?model=strangers&cursor={quoted}&limit={quoted}")
            self.ask("GET", f"/{quoted}/../../{quoted}")

    def file_names(self) -> None:
        """Names of uploaded files that would leave their folder, and a run on what became of them."""
        mark = self.mark.encode()
        names = [
            b"../../../../../../tmp/%s.png", b"/tmp/%s.png", b"..\\..\\%s.png", b"C:\\%s.png", b"cat/../../../%s.png", b"././%s.png",
            b"....//....//%s.png", b"%%2e%%2e%%2f%s.png", b"a\0%s.png", b"$(touch %s).png", b"`touch %s`.png", b"-%s.png", b".%s.png",
            b"\xff\xfe%s.png", b"\xe2\x80\xae%s.gnp.png", b"%s.png/", b"%s.php", b"con/%s.png", b" /%s.png", b"\x1b[2J%s.png",
        ]  # fmt: skip
        for number, name in enumerate([*(name % mark for name in names), b"", b"/", b"..", b"x" * 6000 + b".png"]):
            for path in ("/uploadTrainingImage", "/test"):
                status = self.upload(name, images.png(5000 + number), path)
                self.expect(f"{path} of {name[:60]!r}", status, 200, 400)
        self.trained("walk")

    def bombs(self) -> None:
        """Small files that would be large: dimensions, compressed chunks, compressed bodies, nested JSON."""
        huge = zlib.compress(b"\0" * (64 << 20), 9)
        text = chunk(b"zTXt", b"k\0\0" + huge)
        for side in (30_000, 0x7FFF_FFFF):
            for path in ("/uploadTrainingImage", "/test"):
                self.expect(f"{side} pixels wide", self.upload(b"a.png", pixels(side, side), path), 413)
        compressed = [pixels(8, 8, text), pixels(8, 8, chunk(b"iCCP", b"k\0\0" + huge)), pixels(8, 8, chunk(b"iTXt", b"k\0\1\0\0\0" + huge))]
        jpeg = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x11\0\x02\x11\0\x03\x11\0" + b"\0" * 100 + b"\xff\xd9"
        gif = b"GIF89a\xff\xff\xff\xff\0\0\0," + b"\0" * 4 + b"\xff\xff\xff\xff\0\x08\xff" + b"\xff" * 255 + b"\0;"
        for bomb in [*compressed, jpeg, gif, images.png(1)[:-12] + chunk(b"IDAT", huge) + chunk(b"IEND", b"")]:
            for path in ("/uploadTrainingImage", "/test"):
                self.expect(f"a bomb {bomb[:8]!r}", self.upload(b"a.png", bomb, path), 200, 413, 415)
        body = form({"model_name": b"strangers"}, b"a.png", b"\0" * (64 << 20))
        for coding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
            headers = {"Content-Type": FORM, "Content-Encoding": coding}
            self.expect(f"a body in {coding}", self.ask("POST", "/uploadTrainingImage", headers, packed), 400, 413, 415)
        for nested in (b"[" * 60_000, b'{"a":' * 12_000, b'"' + b"a" * 60_000, b'{"url":"' + b"\\u0000" * 9_000 + b'"}'):
            for path in ("/api/v1/session", "/api/v1/webhooks", "/api/v1/accounts"):
                status = self.ask("POST", path, {"Content-Type": "application/json"}, nested)
                self.expect(f"nested JSON to {path}", status, 400, 413, 422)
        self.ask("GET", "/createModel?" + "&".join(f"p{number}=x" for number in range(3000)))

    def urls(self) -> None:
        """Urls of this machine and its networks, in every spelling."""
        port = self.run.server.port
        for host in INSIDE:
            for url in (f"http://{host}:{port}/healthz", f"https://{host}/a.png"):
                target = f"/uploadTrainingImages?model_name=strangers&image_urls={urllib.parse.quote(url, safe='')}"
                self.expect(url, self.ask("GET", target), 400)
        for url in URLS:
            target = f"/uploadTrainingImages?model_name=strangers&image_urls={urllib.parse.quote(url, safe='')}"
            self.expect(url, self.ask("GET", target), 400)

    def within(self) -> None:
        """Requests within requests, and heads that two readers would take for two things."""
        inner = b"GET /createModel?model_name=smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        heads = [
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: 0\r\nContent-Length: 90\r\n\r\n",
            b"Content-Length: +5\r\n\r\n", b"Content-Length: -1\r\n\r\n", b"Content-Length: 0x5\r\n\r\n", b"Content-Length: 5, 5\r\n\r\n",
            b"Content-Length: 99999999999999999999\r\n\r\n", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 50_000, b"X: a\r\n folded\r\n\r\n", b"X\0: a\r\n\r\n", b": a\r\n\r\n", b"\n\n",
            b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            b"Range: bytes=" + b"0-," * 5000 + b"0-\r\n\r\n",
        ]  # fmt: skip
        for head in heads:
            for method in (b"GET", b"POST", b"FROB"):
                # What follows ends the connection, so that none of these is waited for.
                self.send(method + b" /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\0\r\n\r\n")
        body = b"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(inner)
        self.send(body + inner)
        lines = [
            b"GET http://evil.example/ HTTP/1.1", b"GET * HTTP/1.1", b"CONNECT 127.0.0.1:22 HTTP/1.1", b"GET / HTTP/0.9",
            b"PRI * HTTP/2.0", b"GET \xff\xff HTTP/1.1", b"\x16\x03\x01\x02\0\x01",
        ]  # fmt: skip
        for line in lines:
            self.send(line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n\0\0")
        status = self.ask("GET", "/bestAccuracy?model_name=smuggled")
        self.expect("a model that a request within a request would make", status, 404)

    def routes(self) -> None:
        """Every route with nonsense for ids, queries and bodies."""
        table = (TOP / "tests/data/access.txt").read_text(encoding="utf-8").splitlines()[1:]
        for line in table:
            method, path, *_ = line.split()
            for _ in range(4):
                nonsense = urllib.parse.quote(self.dice.randbytes(self.dice.randrange(1, 40)), safe="")
                target = re.sub(r"\{\w+\}", nonsense, path)
                if target == path:
                    target += "?" + "&".join(f"{name}={nonsense}" for name in ("model_name", "model", "limit", "cursor", "after", nonsense))
                kind = self.dice.choice(["application/json", FORM, "text/plain", "\u00e9", "application/json; charset=utf-7"])
                body = self.dice.choice([b"", b"{}", b"null", b"[]", b'{"name":1}', self.dice.randbytes(300)])
                self.ask(method, target, {"Content-Type": kind}, body)
        # One of them pauses the queue of an open server.
        self.ask("POST", "/api/v1/queue/resume")

    def other_sites(self, cookie: str = "") -> None:
        """Calls that a browser makes for another site's page change nothing, whatever it sends along."""
        pages = [
            {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"},
            {"Referer": "https://evil.example/127.0.0.1"}, {"Origin": "http://127.0.0.1.evil.example"},
        ]  # fmt: skip
        carried = {"Cookie": cookie} if cookie else {}
        for page in pages:
            for path, query in CHANGES:
                status = self.ask("GET", f"{path}?{query % 'forged'}", page | carried)
                self.expect(f"{path} of a page {page}", status, 403)
            self.expect(f"POST of a page {page}", self.ask("POST", "/api/v1/queue/cancel", page | carried), 403)
        if not cookie:
            port = self.run.server.port
            for host in ("evil.example", "127.0.0.1.evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1@evil.example", ""):
                status = self.ask("GET", "/api/v1/queue", {"Host": host})
                self.expect(f"a name that leads here, {host!r},", status, 400, 421)

    def guesses(self, name: str) -> None:
        """Passwords guessed by many at once from several addresses, by session and by Basic."""

        def guess(number: int) -> int | None:
            body = json.dumps({"name": self.dice.choice([name, "admin", "root", "x" * 500, "../x"]), "password": f"guess {number}"})
            return self.ask("POST", "/api/v1/session", {"Content-Type": "application/json"}, body.encode(), f"127.0.7.{number % 40 + 1}")

        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(guess, range(400)))
        self.expect("guesses", next((one for one in statuses if one not in (400, 401, 429, 503)), 401), 401)
        if statuses.count(429) < 100:
            self.run.violations.add(f"only {statuses.count(429)} of 400 guesses were put off")
        for forged in ("Basic " + "A" * 20_000, "Basic !!!", "Bearer ty_" + "a" * 40, "Bearer", "Digest x", "Bearer " + "\u00e9" * 100):
            self.expect(f"{forged[:20]!r}", self.ask("GET", "/api/v1/queue", {"Authorization": forged}), 401)
        for cookie in ("trainyard_session=x", "__Host-trainyard_session=" + "a" * 9000, "trainyard_session=ty_x; trainyard_session=y", ";=;="):
            self.expect("a cookie that was made up", self.ask("GET", "/api/v1/queue", {"Cookie": cookie}), 401)

    # -- what must not be

    def nothing_outside(self) -> None:
        """No file of ours but in the data folder, and there no link that leads out of it."""
        roots = [self.run.work, "/tmp", "/var/tmp", "/etc", os.path.expanduser("~"), Path.cwd()]
        data = self.run.server.data.resolve()
        for root in {Path(root).resolve() for root in roots}:
            for folder, below, files in os.walk(root):
                if Path(folder).resolve() == data:
                    below.clear()
                    continue
                below[:] = [name for name in below if name not in (".git", "target", ".cargo", ".rustup", "node_modules")]
                for name in [*below, *files]:
                    if self.mark in name:
                        self.run.violations.add(f"{folder}/{name} was made outside the data folder")
        for folder, below, files in os.walk(data):
            for name in [*below, *files]:
                path = Path(folder, name)
                if path.is_symlink() and not path.resolve().is_relative_to(data):
                    self.run.violations.add(f"{path} leads to {path.resolve()}")


#: Of accounts that the campaign makes.
PASSWORD = "a long password"


def account(run: Campaign, name: str) -> str:
    """Makes an account of the running server and returns a token of it."""

    def command(*words: str, text: str = "") -> str:
        call = [str(run.server.binary), *words, "--data-dir", str(run.server.data)]
        return subprocess.run(call, input=text, capture_output=True, text=True, check=True).stdout.strip()

    command("user", "add", name, "--role", "admin", "--password-stdin", text=PASSWORD + "\n")
    return command("token", "create", "--user", name)


def session(run: Campaign, name: str) -> str:
    """Signs in and returns the cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", run.server.port, timeout=PATIENCE)
    body = json.dumps({"name": name, "password": PASSWORD})
    connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
    if answer.status != 200 or "=" not in cookie:
        run.violations.add(f"signing in was answered with {answer.status}")
    connection.close()
    return cookie
