"""Calls of the experiments API over connections that a kill may end at any moment."""

import http.client
import json
import threading
import time
import urllib.parse

from server import Server


class Gone(Exception):
    """No whole answer came: the server is not there, or went away meanwhile."""


class Client:
    """Calls to a server whose address changes with every start. One connection a thread."""

    def __init__(self, server: Server, timeout: float = 30.0) -> None:
        self.server, self.timeout = server, timeout
        #: Sent with every request, such as a token.
        self.headers: dict[str, str] = {}
        self._kept = threading.local()

    def _connection(self) -> http.client.HTTPConnection:
        kept = getattr(self._kept, "connection", None)
        if kept is None or kept.port != self.server.port:
            kept = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=self.timeout)
            self._kept.connection = kept
        return kept

    def raw(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body; Gone where no whole answer came."""
        connection = self._connection()
        self._kept.asked = time.monotonic()
        try:
            connection.request(method, path, body, self.headers | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._kept.connection = None
            raise Gone(f"{method} {path}: {error!r}") from error

    @property
    def asked(self) -> float:
        """When this thread's last request was sent."""
        return getattr(self._kept, "asked", 0.0)

    def get(self, path: str, **parameters: str) -> tuple[int, dict]:
        """A GET and its JSON body."""
        query = urllib.parse.urlencode(parameters)
        status, body = self.raw("GET", f"{path}?{query}" if query else path)
        return status, json.loads(body)

    def _form(self, path: str, fields: dict[str, str], name: str, data: bytes) -> tuple[int, dict]:
        edge = "----campaign7d1f"
        parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        body = "".join([*parts, head]).encode() + data + f"\r\n--{edge}--\r\n".encode()
        status, answer = self.raw("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={edge}"})
        return status, json.loads(answer)

    def upload(self, model: str, dataset: str, label: str, name: str, data: bytes) -> tuple[int, dict]:
        """POST /uploadTrainingImage; an empty dataset is none."""
        fields = {"model_name": model, "dataset_name": dataset, "label": label}
        return self._form("/uploadTrainingImage", {key: value for key, value in fields.items() if value}, name, data)

    def test(self, model: str, data: bytes) -> tuple[int, dict]:
        """POST /test."""
        return self._form("/test", {"model_name": model}, "question.png", data)

    def runs(self, model: str) -> tuple[int, list[dict]]:
        """All runs of a model in the order of submission, over all pages."""
        found: list[dict] = []
        parameters = {"model": model, "limit": "200"}
        while True:
            status, body = self.get("/api/v1/runs", **parameters)
            if status != 200:
                return status, found
            found += body["data"]
            if body["next_cursor"] is None:
                return status, found
            parameters["cursor"] = body["next_cursor"]

    def results(self, model: str) -> dict[tuple[str, str], str] | None:
        """(experiment, dataset) and accuracy as /allAccuracies shows them; None for an unknown model."""
        status, body = self.get("/allAccuracies", model_name=model)
        if status != 200:
            return None
        rows = body["body"]["AllExperiments"]
        return {(row["experimentName"], one["datasetName"]): one["accuracy"] for row in rows for one in row["accuracies"]}
