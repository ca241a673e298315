"""A server of Google Cloud Storage for tests: the emulator from PyPI, with what it lacks.

`gcp-storage-emulator` ignores the condition `ifGenerationMatch`, the last bytes of an object as a
range and a range of names, does not tell the generation of an object that it sends, and takes no
empty object. This module adds that, and the metadata server that hands a machine the token of its
service account. The emulator serves one request at a time, so conditions are atomic.
"""

import json
import logging
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

BUCKET = "bucket"
FORBIDDEN = "forbidden"  # a bucket that refuses everyone
TOKEN = {"access_token": "secret", "expires_in": 3600, "token_type": "Bearer"}
ACCOUNT = {"email": "tests@localhost", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}


class _Handler(RequestHandler):
    def __init__(self, changes: list[tuple[str, str]], *args: object):
        self.changes = changes
        super().__init__(*args)

    def parse_request(self) -> bool:
        """Whether the emulator shall answer the request; if not, it is answered."""
        if not super().parse_request():
            return False
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        answer: object = {}
        if path.startswith("/computeMetadata/"):
            status, answer = 200, TOKEN if path.endswith("/token") else ACCOUNT
        elif self.headers.get("Authorization") != f"Bearer {TOKEN['access_token']}":
            status = 401
        elif f"/b/{FORBIDDEN}/" in path:
            status = 403
        elif self._object()[0] not in self.storage.buckets:
            status = 404
        elif query.get("ifGenerationMatch", [""])[0] not in ("", self._generation()):
            status = 412
        elif self.command == "GET" and path.endswith("/o"):
            status, answer = 200, self._list(query)
        elif self.command == "POST" and self.headers.get("Content-Length") == "0":
            status, answer = 200, self._make_empty()
        else:
            self._read_from_end()
            self._note()
            return True
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(status, answer)
        return False

    def _read_from_end(self) -> None:
        """Replaces a range without a start, the last bytes of an object, by one with a start."""
        count = self.headers.get("Range", "").removeprefix("bytes=-")
        if count.isdigit():
            size = int(self.storage.get_file_obj(*self._object())["size"])
            self.headers.replace_header("Range", f"bytes={max(0, size - int(count))}-")

    def _list(self, query: dict[str, list[str]]) -> object:
        """The objects whose names are in a range."""
        found = self.storage.get_file_list(self._object()[0])[0]
        start, end = (query.get(name, [""])[0] for name in ("startOffset", "endOffset"))
        return {"items": [o for o in found if start <= o["name"] and (not end or o["name"] < end)]}

    def _note(self) -> None:
        if self.command != "GET":
            self.changes.append((self.command, self._object()[1]))

    def _make_empty(self) -> object:
        """Makes an object without content, which the emulator cannot."""
        self._note()
        bucket, name = self._object()
        made = _make_object_resource("", bucket, name, "application/octet-stream", "0")
        self.storage.create_file(bucket, name, b"", _checksums(b"", made))
        return made

    def end_headers(self) -> None:
        if self.command == "GET" and "alt=media" in self.path:
            self.send_header("x-goog-generation", self._generation())
        super().end_headers()

    def _object(self) -> tuple[str, str]:
        """The bucket and the name of the object that the request names."""
        url = urlsplit(self.path)
        bucket, _, name = url.path.partition("/b/")[2].partition("/o")
        return bucket, unquote(name[1:]) or parse_qs(url.query).get("name", [""])[0]

    def _generation(self) -> str:
        """The generation of the object that the request names; 0 if there is none."""
        try:
            return str(self.storage.get_file_obj(*self._object())["generation"])
        except NotFound:
            return "0"

    def _answer(self, status: int, value: object) -> None:
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Length", str(len(raw)))
        BaseHTTPRequestHandler.end_headers(self)
        self.wfile.write(raw)


class _Http(HTTPServer):
    request_queue_size = 128  # of 5, connections that come together wait for seconds


class Server:
    """A server on a free port of this machine. A context manager; the data are in memory."""

    def __init__(self) -> None:
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        self.storage = Storage(use_memory_fs=True)
        for bucket in (BUCKET, FORBIDDEN):
            self.storage.create_bucket(bucket, {"name": bucket})
        self.changes: list[tuple[str, str]] = []  # POST or DELETE, and the name of the object
        handler = partial(_Handler, self.changes, self.storage)
        self._http = _Http(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make tensorstore use this server."""
        address = f"127.0.0.1:{self._http.server_port}"
        return {"TENSORSTORE_GCS_HTTP_URL": f"http://{address}", "GCE_METADATA_ROOT": address}

    def names(self, prefix: str) -> list[str]:
        """Sorted names of the objects under a prefix, without it."""
        found = self.storage.get_file_list(BUCKET, prefix)[0]
        return sorted(each["name"].removeprefix(prefix) for each in found)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
