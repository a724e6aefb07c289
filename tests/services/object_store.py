"""An S3 server on this machine, which can be told to fail or to end a process at any call."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import make_server

from flashbulb.audit.stores import store as stores

BUCKET = "bucket"


class Call(NamedTuple):
    """What a client asked of the server."""

    method: str
    path: str
    query: str


class Server:
    """Moto behind a door that may refuse.

    Args:
        fails_every: how many calls lead to one that fails; 0 for none.
        on_call: called before every call.
        refuses: says which calls, by their environment of WSGI, are answered with "access denied".
    """

    def __init__(self) -> None:
        self._moto, self._lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
        self.calls: list[Call] = []
        self.n_failed, self.fails_every = 0, 0
        self.refuses: Callable[[dict[str, Any]], bool] = lambda environ: False
        self.on_call: Callable[[Call], None] = lambda call: None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        call = Call(environ["REQUEST_METHOD"], environ["PATH_INFO"].encode("latin-1").decode(), environ["QUERY_STRING"])
        with self._lock:
            self.calls.append(call)
            fails = self.fails_every and len(self.calls) % self.fails_every == 0
            self.n_failed += bool(fails)
        self.on_call(call)
        if self.refuses(environ):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        return self._fail(self.n_failed % 3, environ, start_response) if fails else self._moto(environ, start_response)

    def _fail(self, way: int, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if way == 0:
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if way == 1:
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>slow down</Message></Error>"]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError


class S3(NamedTuple):
    """A running server with one bucket, a client, and its URL."""

    app: Server
    files: Any
    url: str

    def put(self, folder: Path, key: str) -> str:
        """Copy a file, or all files of a folder, into the bucket, and return the URI."""
        for path in [folder] if folder.is_file() else folder.rglob("*"):
            if path.is_file():
                name = "" if path == folder else f"/{path.relative_to(folder).as_posix()}"
                self.write(f"{key}{name}", path.read_bytes())
        return f"s3://{BUCKET}/{key}"

    def write(self, key: str, data: bytes) -> None:
        with self.files.open_output_stream(f"{BUCKET}/{key}", compression=None) as stream:
            stream.write(data)

    def read(self, key: str) -> bytes:
        with self.files.open_input_stream(f"{BUCKET}/{key}", compression=None) as stream:
            return bytes(stream.read())

    def keys(self, below: str = "") -> list[str]:
        found = self.files.get_file_info(fs.FileSelector(f"{BUCKET}/{below}", recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{BUCKET}/") for info in found if info.type == fs.FileType.File)

    def get(self, key: str, folder: Path) -> Path:
        """Copy all objects below a key into a folder, without claims."""
        for name in self.keys(key):
            if "/.claims/" not in name:
                path = folder / name.removeprefix(f"{key}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.read(name))
        return folder


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server with an empty bucket, to which the usual variables point."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app = Server()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.log = lambda *_, **__: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    urlopen(f"{url}/moto-api/reset", data=b"").close()  # moto keeps what an earlier server of this process was given
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {"ACCESS_KEY_ID": "AKIDSECRETID", "SECRET_ACCESS_KEY": "topsecret"}.items():
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", url)
        files = fs.S3FileSystem(
            endpoint_override=url.removeprefix("http://"), scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        files.create_dir(BUCKET)
        yield S3(app, files, url)
    stores._open.cache_clear()
    server.shutdown()
    thread.join()
    server.server_close()
