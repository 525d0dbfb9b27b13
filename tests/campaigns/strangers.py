"""Strangers that want in, or nothing but to be in the way: idle connections by the thousand, heads and bodies that
never end, heads that are too long, garbage, answers that nobody reads, and the requests of `hostile`.

Throughout, somebody else asks and uploads, and has to be served; the server's memory stays within 64 MiB of what it
took idle, it closes what takes too long, and nothing of it is left afterwards.

Usage: strangers.py [--bin PATH] [--rounds N] [--seed N] [--keep] [--idle N] [--patient]
  --idle N    that many idle connections (10,000)
  --patient   wait for the longest deadlines as well: an answer that is not read (70 s)
"""

import os
import random
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import campaign
import images
from campaign import Campaign
from client import Client, Gone
from hostile import Hostile, account, session

MIB = 1 << 20

#: What the server may take beyond what it took idle.
GROWTH = 64 * MIB

#: How long anybody else may wait for an answer.
PATIENCE = 5.0

#: The same for an upload: while half of one comes from each of a thousand others, it waits until slow ones are cut off.
UPLOAD_PATIENCE = 20.0

MODEL = "strangers"


class Guest:
    """Somebody who wants to work while the others are in the way."""

    def __init__(self, run: Campaign) -> None:
        self.run, self.client = run, Client(run.server, timeout=UPLOAD_PATIENCE)
        self.client.headers = run.client.headers
        self.asked, self.sent_away, self.slowest, self.slowest_upload = 0, 0, 0.0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Guest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _call(self, what: str, call: Callable[[], tuple[int, object]]) -> None:
        # One of its own idle connections may have made room for a newcomer, and until those that block all others are
        # known as such it is told to come again in a second: more tries are fair.
        for chance in range(4):
            begin = time.monotonic()
            try:
                status, _ = call()
            except Gone as gone:
                if chance == 3:
                    self.run.violations.add(f"{what} was not answered: {gone}")
                continue
            if status == 503 and chance < 3:
                self.sent_away += 1
                time.sleep(1)
                continue
            took = time.monotonic() - begin
            if what == "an upload":
                self.slowest_upload = max(self.slowest_upload, took)
            else:
                self.slowest = max(self.slowest, took)
                if took > PATIENCE:
                    self.run.violations.add(f"{what} took {took:.1f} s")
            if status != 200:
                self.run.violations.add(f"{what} was answered with {status}")
            self.asked += 1
            return

    def _work(self) -> None:
        number = 0
        while not self._stop.wait(0.05):
            number += 1
            self._call("GET /healthz", lambda: self.client.raw("GET", "/healthz"))
            self._call("GET /api/v1/queue", lambda: self.client.get("/api/v1/queue"))
            if number % 10 == 0:
                picture = images.png(number, 64)
                self._call("an upload", lambda: self.client.upload(MODEL, "", "x", f"{number}.png", picture))


class Strangers:
    """The campaign."""

    def __init__(self, run: Campaign, dice: random.Random) -> None:
        self.run, self.hostile, self.dice = run, Hostile(run, dice), dice
        self.guests: list[Guest] = []
        self.pid = 0
        self.resident = 0
        self.descriptors = 0
        self.over = threading.Event()
        #: What is done at the moment, and the most memory beyond idle that each took.
        self.stage = "idle"
        self.most_by_stage: dict[str, int] = {}

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))

    def open_files(self) -> int:
        """Open descriptors of the server."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def watch(self) -> None:
        """Looks at the memory for as long as the server lives."""
        told = set()
        while not self.over.wait(0.05):
            grown = self.memory() - self.resident
            self.most_by_stage[self.stage] = max(self.most_by_stage.get(self.stage, 0), grown)
            if grown > GROWTH and self.stage not in told:
                told.add(self.stage)
                self.run.violations.add(f"{self.stage}: {grown / MIB:.0f} MiB more than idle")

    def connect(self, source: str = "127.0.0.1", small: bool = False) -> socket.socket:
        """A connection from an address of this machine; with a small window, where it will not read."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.run.server.port))
        return sock

    def many(self, count: int, say: bytes = b"", small: bool = False) -> list[socket.socket]:
        """Connections from several addresses, each of which says the same and then nothing."""
        socks = []
        for number in range(count):
            try:
                sock = self.connect(f"127.0.{number % 8}.1", small)
                socks.append(sock)
                sock.sendall(say)
            except OSError:
                # Closed meanwhile, to make room.
                continue
        return socks

    def closed(self, what: str, socks: list[socket.socket], within: float) -> None:
        """Waits until the server has closed all of them."""
        until = time.monotonic() + within
        left = {sock.fileno(): sock for sock in socks}
        poll = select.poll()
        for number in left:
            poll.register(number, select.POLLIN | select.POLLRDHUP)
        while left and time.monotonic() < until:
            for number, _ in poll.poll(1000):
                try:
                    gone = left[number].recv(65536) == b""
                except OSError:
                    gone = True
                if gone:
                    poll.unregister(number)
                    left.pop(number)
        if left:
            self.run.violations.add(f"{what}: {len(left)} of {len(socks)} are open after {within:.0f} s")
        for sock in socks:
            sock.close()

    def idle(self, count: int) -> None:
        """Connections that say nothing, all at once; the newest may stay until their head is due."""
        self.stage = "idle connections"
        socks = self.many(count)
        self.closed("idle connections", socks, 20)

    def half_heads(self) -> None:
        """Heads that never end, as the first and as the second of a connection."""
        self.stage = "half heads"
        self.closed("half heads", self.many(600, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 30_000), 20)
        socks = self.many(400, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for sock in socks:
            try:
                sock.recv(4096)
                sock.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 20_000)
            except OSError:
                continue
        self.closed("second half heads", socks, 20)

    def long_heads(self) -> None:
        """Header bombs, and what is no HTTP at all."""
        self.stage = "long heads and garbage"
        bomb = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Bomb: y\r\n" * 30_000
        self.closed("header bombs", self.many(300, bomb), 20)
        garbage = self.dice.randbytes(200_000)
        self.closed("garbage", self.many(300, garbage), 20)
        pipelined = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + garbage
        self.closed("pipelined garbage", self.many(300, pipelined), 20)

    def half_bodies(self) -> None:
        """Uploads that stop, told and chunked, to calls that read them and to calls that do not."""
        self.stage = "half bodies"
        form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + b"x" * 100_000
        head = b"POST /uploadTrainingImage HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        self.closed("half bodies", self.many(600, head + b"Content-Length: 5000000\r\n\r\n" + form), 50)
        chunk = head + b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + form[:50_000]
        self.closed("half chunks", self.many(300, chunk), 50)
        unread = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\nxxx"
        self.closed("bodies that nobody reads", self.many(300, unread), 20)

    def unread_answers(self, patient: bool) -> None:
        """Requests without end whose answers are not read."""
        self.stage = "unread answers"
        ask = b"GET /allAccuracies?model_name=%s HTTP/1.1\r\nHost: x\r\n\r\n" % MODEL.encode()
        socks = self.many(500, small=True)
        for sock in socks:
            sock.setblocking(False)
            try:
                while sock.send(ask * 20):
                    pass
            except OSError:
                continue
        if not patient:
            for sock in socks:
                sock.close()
            return
        # Reading would help them: whether they are closed is seen in the server's own table.
        until = time.monotonic() + 75
        port = self.run.server.port
        while time.monotonic() < until and _established(port) > 20:
            time.sleep(1)
        if _established(port) > 20:
            self.run.violations.add(f"unread answers: {_established(port)} connections are open after 75 s")
        for sock in socks:
            sock.close()

    def one_round(self, options: "campaign.argparse.Namespace") -> None:
        """Everything once."""
        hostile = self.hostile
        with self.guest():
            self.idle(options.idle)
            self.half_heads()
            self.long_heads()
            self.half_bodies()
            self.unread_answers(options.patient)
            for attack in (hostile.names, hostile.file_names, hostile.bombs, hostile.urls, hostile.within, hostile.routes, hostile.other_sites):
                self.stage = attack.__name__.replace("_", " ")
                attack()

    def with_accounts(self) -> None:
        """What only a server with accounts can be asked."""
        self.stage = "guesses"
        self.run.client.headers["Authorization"] = f"Bearer {account(self.run, 'owner')}"
        cookie = session(self.run, "owner")
        with self.guest():
            self.hostile.guesses("owner")
            self.stage = "with accounts"
            self.hostile.routes()
            self.hostile.other_sites(cookie)

    def guest(self) -> Guest:
        """Somebody else, from now on."""
        self.guests.append(Guest(self.run))
        return self.guests[-1]

    def count(self) -> None:
        """What the guests met with."""
        guests, stats = self.guests, self.run.stats
        stats["hostile requests"] = self.hostile.asked
        stats["asked meanwhile"] = sum(guest.asked for guest in guests)
        stats["told to come again"] = sum(guest.sent_away for guest in guests)
        stats["slowest answer"] = f"{max(guest.slowest for guest in guests) * 1000:.0f} ms"
        stats["slowest upload"] = f"{max(guest.slowest_upload for guest in guests) * 1000:.0f} ms"
        for stage, grown in self.most_by_stage.items():
            print(f"most memory over idle, {stage}: {grown / MIB:.1f} MiB", flush=True)
        stats["most memory"] = f"{max(self.most_by_stage.values(), default=0) / MIB:.1f} MiB over idle"

    def nothing_is_left(self) -> None:
        """All that was opened is closed again."""
        until = time.monotonic() + 20
        while time.monotonic() < until and self.open_files() > self.descriptors + 8:
            time.sleep(0.2)
        if self.open_files() > self.descriptors + 8:
            self.run.violations.add(f"{self.open_files()} open files, {self.descriptors} before")
        left = list((self.run.server.data / "tmp").iterdir())
        if left:
            self.run.violations.add(f"unfinished uploads are left: {left[:3]}")
        # What a crowd leaves is given back a moment after it has gone.
        time.sleep(3)
        self.run.stats["memory at the end"] = f"{(self.memory() - self.resident) / MIB:.1f} MiB over idle"


def _established(port: int) -> int:
    """Connections that the server has."""
    lines = Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]
    local = f":{port:04X}"
    return sum(1 for line in lines if line.split()[1].endswith(local) and line.split()[3] == "01")


def main() -> int:
    """Runs the campaign."""
    parser = campaign.parser("strangers", __doc__, rounds=1)
    parser.add_argument("--idle", type=int, default=10_000, help="how many idle connections")
    parser.add_argument("--patient", action="store_true", help="wait for the longest deadlines as well")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < options.idle + 100:
        print(f"skipped: strangers, because at most {hard} files may be open and it needs {options.idle + 100}")
        return 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(options.idle + 1000, 4096) if hard == resource.RLIM_INFINITY else hard, hard))
    run = Campaign("strangers", options)
    strangers = Strangers(run, random.Random(options.seed))
    with run:
        run.server.start()
        assert run.server.process is not None
        strangers.pid = run.server.process.pid
        run.client.get("/createModel", model_name=MODEL)
        for number in range(20):
            run.client.upload(MODEL, "", "x", f"first{number}.png", images.png(number, 64))
        strangers.hostile.trained("first")
        time.sleep(1)
        strangers.resident, strangers.descriptors = strangers.memory(), strangers.open_files()
        watch = threading.Thread(target=strangers.watch, daemon=True)
        watch.start()
        for _ in run.rounds():
            strangers.one_round(options)
        strangers.with_accounts()
        strangers.hostile.nothing_outside()
        strangers.nothing_is_left()
        strangers.over.set()
        watch.join()
        status = run.server.stop()
        if status != 0:
            run.violations.add(f"SIGTERM ended the server with status {status}")
    strangers.count()
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
