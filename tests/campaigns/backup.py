"""A backup of many results and images while writing goes on, restored elsewhere: `verify` is clean, answers are
identical, nobody who writes waits long, and memory stays flat.

Usage: backup.py [--bin PATH] [--rounds N] [--seed N] [--results N] [--images N] [--keep]
"""

import http.client
import shutil
import subprocess
import threading
import time
from pathlib import Path

import campaign
import images
from campaign import Campaign
from checks import Checks
from client import Client, Gone
from load import wait_until_idle
from server import Server, StartFailed

#: Prints an accuracy of its own for each step count; a shell's echo, since another process would take longer.
TRAINER = '#!/bin/sh\necho "accuracy=0.$(( 10000 + $6 * 7919 % 90000 ))"\n'

BIG = "big"

#: What a writer may wait for one small write while a backup is taken, in seconds; on a busy machine.
MOST_WAIT = 2.0

#: What the server may grow by while a backup is taken, in KiB.
MOST_GROWTH = 48 << 10


def memory(pid: int) -> int:
    """Resident memory in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def furnish(run: Campaign, results: int, count: int) -> None:
    """A model with so many results and so many images."""
    run.client.get("/createModel", model_name=BIG)
    run.client.get("/createModel", model_name="other")
    todo, lock = iter(range(count)), threading.Lock()

    def upload() -> None:
        client = Client(run.server)
        while True:
            with lock:
                number = next(todo, None)
            if number is None:
                return
            status, body = client.upload(BIG, "", "cat", f"{number}.png", images.png(number, 16))
            if status != 200:
                run.violations.add(f"upload {number} is answered {status} {body}")

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.client.upload("other", "", "cat", "1.png", images.png(1, 16))
    done = 0
    while done < results:
        run.client.get("/runDefaultExperiments", model_name=BIG)
        # The same experiments on the next version are new runs, and the last results stand.
        if not wait_until_idle(run.client, 3600):
            run.violations.add("the sweep does not end")
            return
        done = len(run.client.results(BIG) or {})


class Writer(threading.Thread):
    """Writes small things and measures how long each takes."""

    def __init__(self, run: Campaign, number: int) -> None:
        super().__init__(daemon=True)
        self.run_, self.number, self.stopping = run, number, threading.Event()
        self.longest, self.count = 0.0, 0

    def run(self) -> None:
        client = Client(self.run_.server)
        while not self.stopping.is_set():
            name = f"own-{self.number}-{self.count}"
            began = time.monotonic()
            status, body = client.get("/createExperiment", model_name="other", experiment_name=name, learning_rate="0.1", num_layers="1", num_steps="1")
            self.longest = max(self.longest, time.monotonic() - began)
            if status != 200:
                self.run_.violations.add(f"a write during a backup is answered {status} {body}")
            if self.count % 10 == 0:
                client.upload("other", "", "dog", f"{name}.png", images.png(self.number * 100_000 + self.count))
            if self.count % 50 == 0:
                client.get("/train", model_name="other", experiment_name="default_1")
            self.count += 1


def take(run: Campaign, file: Path) -> None:
    """A backup through the API."""
    connection = http.client.HTTPConnection("127.0.0.1", run.server.port, timeout=600)
    connection.request("GET", "/api/v1/backup")
    answer = connection.getresponse()
    if answer.status != 200:
        run.violations.add(f"the backup is answered {answer.status} {answer.read()!r}")
        return
    with file.open("wb") as out:
        shutil.copyfileobj(answer, out, 1 << 20)


def answers(client: Client) -> list[tuple[int, bytes]]:
    """What a server says of the model that nobody writes to."""
    calls = [f"/allAccuracies?model_name={BIG}", f"/bestAccuracy?model_name={BIG}", f"/bestAccuracy?model_name={BIG}&experiment_name=default_3"]
    return [client.raw("GET", call) for call in calls]


def command(run: Campaign, *words: str | Path) -> float:
    """Runs a command of the binary; returns how long it took."""
    began = time.monotonic()
    done = subprocess.run([run.server.binary, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        run.violations.add(f"{' '.join(map(str, words[:2]))} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return time.monotonic() - began


def one_round(run: Campaign, number: int) -> None:
    """A backup amid writes, restored and asked."""
    wanted = answers(run.client)
    assert run.server.process is not None
    before, peak = memory(run.server.process.pid), 0
    writers = [Writer(run, 10 * number + at) for at in range(4)]
    for writer in writers:
        writer.start()
    time.sleep(0.3)
    file, began = run.work / f"{number}.backup", time.monotonic()
    taking = threading.Thread(target=take, args=(run, file))
    taking.start()
    while taking.is_alive():
        peak = max(peak, memory(run.server.process.pid))
        time.sleep(0.02)
    took = time.monotonic() - began
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join()
    longest = max(writer.longest for writer in writers)
    if longest > MOST_WAIT:
        run.violations.add(f"a small write took {longest:.1f} s during the backup")
    if peak > before + MOST_GROWTH:
        run.violations.add(f"the server grew from {before} to {peak} KiB during the backup")
    run.stats |= {
        "backup": f"{took:.1f} s, {file.stat().st_size >> 20} MiB",
        "memory before and at the most": f"{before >> 10} and {peak >> 10} MiB",
        "writes meanwhile": f"{sum(writer.count for writer in writers)}, the longest {longest * 1000:.0f} ms",
    }
    folder = run.work / f"restored-{number}"
    run.stats["restore"] = f"{command(run, 'restore', file, '--data-dir', folder / 'data'):.1f} s"
    run.stats["verify"] = f"{command(run, 'verify', '--data-dir', folder / 'data'):.1f} s"
    copy = Server(run.server.binary, folder, folder / "data")
    shutil.copy(run.server.config, copy.config)
    copy.start()
    client = Client(copy)
    if answers(client) != wanted:
        run.violations.add("the restored server answers otherwise")
    wait_until_idle(client, 120)
    Checks(client, run.ledger, run.violations).verify()
    copy.stop()


def main() -> int:
    """Runs the campaign."""
    parser = campaign.parser("backup", __doc__, rounds=1)
    parser.add_argument("--results", type=int, default=1000, help="stored results, a multiple of 100")
    parser.add_argument("--images", type=int, default=500, help="stored images")
    options = parser.parse_args()
    run = Campaign("backup", options)
    trainer = run.work / "trainer.sh"
    trainer.write_text(TRAINER, encoding="ascii")
    trainer.chmod(0o755)
    # At most 10,000 experiments a model; more results than that are those of further datasets.
    with run:
        try:
            experiments = min(options.results, 10_000)
            grid = f"learning_rates = {[n / 1000 for n in range(1, 11)]}\nlayers = {list(range(1, 11))}\nsteps = {list(range(1, experiments // 100 + 1))}\n"
            text = run.server.config.read_text(encoding="utf-8").split("[trainer]")[0]
            run.server.config.write_text(f'{text}[trainer]\ntrain = ["{trainer}"]\ntest = ["{trainer}"]\n[sweep]\n{grid}', encoding="utf-8")
            run.server.start()
            furnish(run, experiments, options.images)
            for dataset in range(1, options.results // experiments):
                name = f"d{dataset}"
                run.client.get("/createDataset", model_name=BIG, dataset_name=name)
                run.client.upload(BIG, name, "cat", "0.png", images.png(0, 16))
                run.client.get("/runDefaultExperiments", model_name=BIG, dataset_name=name)
                wait_until_idle(run.client, 3600)
                print(f"{(dataset + 1) * experiments} results after {time.monotonic() - run.began:.0f} s", flush=True)
            run.stats["results"] = len(run.client.results(BIG) or {})
            for number in run.rounds():
                one_round(run, number)
            if run.server.stop() != 0:
                run.violations.add("SIGTERM ended the server with another status than 0")
            run.checks.verify_stopped(run.server.binary, run.server.data)
        except (StartFailed, Gone) as failed:
            run.violations.add(str(failed))
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
