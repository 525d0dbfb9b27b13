#!/usr/bin/env python3
"""A client that a public generator makes from the server's OpenAPI document lives through the whole story.

Model, dataset, images, a sweep, waiting, the best, the leaderboard, curves, a log, predictions, another label, the trash and back,
with nothing but what openapi-python-client wrote: its functions, its classes, its types.

Usage: client_story.py ADDRESS [TOKEN]; the server trains with whatever it is set to. Needs openapi-python-client and httpx.
"""

import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

# The generator knows text and bytes; lines of JSON and pictures are both.
SETTINGS = {
    "project_name_override": "yard",
    "package_name_override": "yard",
    "post_hooks": [],
    "content_type_overrides": {
        "application/jsonl": "text/plain",
        "application/openmetrics-text": "text/plain",
        "application/zip": "application/octet-stream",
        "image/*": "application/octet-stream",
    },
}

PATIENCE = 300


def generate(address, folder):
    """Has the client made, without a warning."""
    document, settings = folder / "openapi.json", folder / "settings.json"
    with urllib.request.urlopen(f"{address}/api/v1/openapi.json", timeout=30) as answer:
        document.write_bytes(answer.read())
    settings.write_text(json.dumps(SETTINGS))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", document, "--config", settings]
    command += ["--meta", "none", "--output-path", folder / "yard", "--fail-on-warning"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"the generator has a complaint:\n{made.stdout}{made.stderr}")
    sys.path.insert(0, str(folder))


def picture(shade, rng):
    """A grey PNG of 8 x 8, about as bright as `shade`."""
    rows = b"".join(b"\0" + bytes(min(255, max(0, shade + rng.randint(-30, 30))) for _ in range(8)) for _ in range(8))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def story(address, token):
    from yard import AuthenticatedClient, Client
    from yard.api.datasets import create_dataset, get_balance, get_dataset, list_versions
    from yard.api.images import create_dataset_image, delete_dataset_image, get_dataset_image_content
    from yard.api.images import list_dataset_images, relabel_dataset_images
    from yard.api.models import create_model, delete_model, export_results_csv, export_results_jsonl, get_best
    from yard.api.models import get_leaderboard, get_model, list_models, predict, update_model
    from yard.api.queue import follow_events, get_queue
    from yard.api.runs import get_run, get_run_curves, get_run_log, get_run_metrics, list_artifacts, list_runs
    from yard.api.sweeps import create_sweep, get_sweep, list_sweeps
    from yard.api.trash import list_trash, restore_trash_item
    from yard.models import Grid, LabelChange, LabelChanges, ModelChange, NewDataset, NewImageForm, NewModel, NewSweep
    from yard.models import PredictionForm, RunState, TrashKind
    from yard.types import File

    client = AuthenticatedClient(address, token) if token else Client(address)
    rng = random.Random(7)

    def file(name, shade):
        return File(io.BytesIO(picture(shade, rng)), name, "image/png")

    # A model, twice with the same key: once.
    first = create_model.sync_detailed(client=client, body=NewModel("story"), idempotency_key="story-1")
    again = create_model.sync_detailed(client=client, body=NewModel("story"), idempotency_key="story-1")
    assert first.status_code == again.status_code == 201 and first.parsed.id == again.parsed.id
    model = first.parsed
    assert [one.name for one in list_models.sync(client=client, prefix="sto").data] == ["story"]
    assert create_dataset.sync("story", client=client, body=NewDataset("first")).name == "first"
    # By id from here on, where a name would do as well.
    for number in range(24):
        label, shade = ("dark", 50) if number % 2 else ("light", 200)
        form = NewImageForm(file(f"{number}.png", shade), label)
        made = create_dataset_image.sync_detailed(model.id, "first", client=client, body=form)
        assert made.status_code == 201 and made.parsed.label == label, made
    dataset = get_dataset.sync("story", "first", client=client)
    assert (dataset.images, dataset.labelled) == (24, 24)

    # Edited only as it was read.
    stale = update_model.sync_detailed("story", client=client, body=ModelChange(description="x"), if_match='"999"')
    assert stale.status_code == 412 and stale.parsed.code == "stale", stale
    now = update_model.sync("story", client=client, body=ModelChange(description="Dark or light?"),
                            if_match=f'"{model.revision}"')
    assert now.description == "Dark or light?"

    # A sweep, until it is over.
    sweep = create_sweep.sync(client=client, body=NewSweep(model.id, dataset=dataset.id, grid=Grid([1], [0.01, 0.05], [10, 20])))
    assert sweep.runs == 4
    ends = time.monotonic() + PATIENCE
    while sum(get_sweep.sync(sweep.id, client=client).states.additional_properties.get(state, 0)
              for state in ("succeeded", "failed", "cancelled")) < 4:
        assert time.monotonic() < ends, "the sweep goes on for too long"
        # Returns after a second, or tells what came.
        assert follow_events.sync_detailed(client=client, sweep=sweep.id, seconds=1).content.startswith(b"retry: ")
    assert [line.id for line in list_sweeps.sync(client=client, model=model.id).data] == [sweep.id]
    runs = list_runs.sync(client=client, sweep=sweep.id, state=RunState.SUCCEEDED).data
    assert len(runs) == 4, [(run.state, run.reason) for run in list_runs.sync(client=client, sweep=sweep.id).data]
    assert get_queue.sync(client=client).running == 0

    # The best, in every way in which it is told.
    best = get_best.sync("story", client=client)
    board = get_leaderboard.sync(model.id, client=client).data
    assert len(board) == 4 and board[0].run_id == best.run_id == get_model.sync("story", client=client).best.run_id
    assert float(board[0].accuracy) >= float(board[-1].accuracy)
    assert best.accuracy in export_results_csv.sync("story", client=client)
    assert export_results_jsonl.sync("story", client=client).count("\n") == 4
    run = get_run.sync(best.run_id, client=client)
    assert run.accuracy == best.accuracy and run.finished_at >= run.started_at
    assert '"accuracy"' in get_run_log.sync(run.id, client=client)
    curves = get_run_curves.sync(run.id, client=client, points=50).curves
    assert curves and all(len(point) == 2 for curve in curves for point in curve.points)
    assert get_run_metrics.sync(run.id, client=client).count("\n") >= 1
    assert "model.safetensors" in [kept.name for kept in list_artifacts.sync(run.id, client=client).data]

    # It answers, about several at once.
    asked = predict.sync("story", client=client, body=PredictionForm([file("a.png", 200), file("b.png", 50)]))
    assert [len(asked.data), asked.data[0].prediction.label, asked.data[1].prediction.label] == [2, "light", "dark"], asked

    # Another label makes another version.
    change = LabelChanges([LabelChange("0.png", label="light", new_label="grey")])
    changed = relabel_dataset_images.sync("story", "first", client=client, body=change)
    assert [image.label for image in changed.data] == ["grey"]
    balance = {count.label: count.images for count in
               get_balance.sync("story", "first", changed.version, client=client).data}
    assert balance == {"dark": 12, "light": 11, "grey": 1}, balance
    assert list_versions.sync("story", "first", client=client).data
    grey = list_dataset_images.sync("story", "first", client=client, label="grey").data
    content = get_dataset_image_content.sync("story", "first", client=client, name=grey[0].name, label="grey")
    assert content.payload.read().startswith(b"\x89PNG")

    # Into the trash, and out of it.
    gone = delete_dataset_image.sync("story", "first", client=client, name="1.png", label="dark")
    assert gone.kind == TrashKind.IMAGE and get_dataset.sync("story", "first", client=client).images == 23
    assert restore_trash_item.sync_detailed(gone.id, client=client).status_code == 204
    assert get_dataset.sync("story", "first", client=client).images == 24
    gone = delete_model.sync("story", client=client)
    missing = get_model.sync_detailed("story", client=client)
    assert missing.status_code == 404 and missing.parsed.code == "not_found"
    assert gone.id in [item.id for item in list_trash.sync(client=client).data]
    assert restore_trash_item.sync_detailed(gone.id, client=client).status_code == 204
    assert get_best.sync("story", client=client).run_id == best.run_id


def main():
    address, token = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as folder:
        generate(address, Path(folder))
        story(address, token)
    print("the generated client lived through the story")


if __name__ == "__main__":
    main()
