"""A small S3 server on loopback whose objects are files: it can be killed and started again.

`python -m tests.objects.server FOLDER PORT [FAULT...]`. moto keeps all objects in memory, hence
loses them when it is killed; it serves the tests that need no faults. Faults:

  ignore         writes under a condition are done whether it holds or not
  forbid         writes are refused with 403
  die:N          the process ends before request N changes anything (from 1)
  died:N         it ends when request N has changed what it changes, without an answer
  hang:N         request N and all after it get no answer
  copies:N       copies of more than N bytes are refused, as S3 does above 5 GiB
"""

import hashlib
import os
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000
UPLOADS = "uploads"  # what is coming in pieces; no bucket


class Server(ThreadingHTTPServer):
    """Serves the buckets that are folders of a folder."""

    daemon_threads = True

    def __init__(self, root: Path, port: int, faults: list[str]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.root, self.turn, self.requests = root, threading.Lock(), 0
        self.has = {name for name in faults if ":" not in name}
        self.at = {name: int(n) for name, _, n in (f.partition(":") for f in faults) if n}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error."""


class Handler(BaseHTTPRequestHandler):
    """One request after the other of a client; those of all clients take turns."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, 2**16  # else an answer waits for its second half
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.turn:
            self.server.requests += 1
            number, at = self.server.requests, self.server.at
            if number == at.get("die"):
                os._exit(1)
            if "hang" in at and number >= at["hang"]:
                time.sleep(3600)
            answer = self._answer(raw)
            if number == at.get("died"):
                os._exit(1)
        self._reply(*answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def _answer(self, raw: bytes) -> tuple[int, bytes, dict[str, str]]:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        folder = self.server.root / bucket
        if not folder.is_dir():
            return _error(404, "NoSuchBucket")
        if self.command == "POST" and "delete" in query:
            return self._delete_all(folder, raw)
        if self.command in ("PUT", "DELETE") and "forbid" in self.server.has:
            return _error(403, "AccessDenied")
        if not key:
            return self._list(folder, query)
        path = folder / quote(key, safe="")
        if "uploads" in query or "uploadId" in query:
            return self._in_pieces(query, path, raw)
        if self.command == "PUT":
            return self._put(folder, path, raw)
        if self.command == "DELETE":
            path.unlink(missing_ok=True)
            return 204, b"", {}
        if not path.exists():
            return _error(404, "NoSuchKey")
        content = path.read_bytes()
        return 200, content, {"ETag": _tag(content), "Last-Modified": _date(path)}

    def _put(self, folder: Path, path: Path, raw: bytes) -> tuple[int, bytes, dict[str, str]]:
        source = self.headers.get("x-amz-copy-source")
        if source:
            copied = folder / quote(unquote(source).lstrip("/").partition("/")[2], safe="")
            if not copied.exists():
                return _error(404, "NoSuchKey")
            raw = copied.read_bytes()
            if len(raw) > self.server.at.get("copies", len(raw)):
                return _error(400, "InvalidRequest")
        tag = _tag(path.read_bytes()) if path.exists() else None
        is_new, same = self.headers.get("If-None-Match"), self.headers.get("If-Match")
        if "ignore" not in self.server.has:
            if is_new == "*" and tag is not None:
                return _error(412, "PreconditionFailed")
            if same is not None and tag is None:
                return _error(404, "NoSuchKey")
            if same is not None and same != tag:
                return _error(412, "PreconditionFailed")
        beside = folder / f".new-{threading.get_ident()}"
        beside.write_bytes(raw)
        beside.replace(path)
        if source:
            body = f"<CopyObjectResult><ETag>{escape(_tag(raw))}</ETag></CopyObjectResult>"
            return 200, body.encode(), {}
        return 200, b"", {"ETag": _tag(raw)}

    def _in_pieces(
        self, query: dict[str, str], path: Path, raw: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        """An object that comes in pieces, which are files of a folder until they are joined."""
        upload = query.get("uploadId") or os.urandom(4).hex()
        folder = self.server.root / UPLOADS / upload
        if "uploads" in query:
            folder.mkdir(parents=True)
            told = f"<UploadId>{upload}</UploadId>"
            body = f"<InitiateMultipartUploadResult>{told}</InitiateMultipartUploadResult>"
            return 200, body.encode(), {}
        if not folder.is_dir():
            return _error(404, "NoSuchUpload")
        if self.command == "PUT":
            (folder / f"{int(query['partNumber']):05}").write_bytes(raw)
            return 200, b"", {"ETag": _tag(raw)}
        if self.command == "POST":
            path.write_bytes(b"".join(part.read_bytes() for part in sorted(folder.iterdir())))
        shutil.rmtree(folder)
        if self.command == "DELETE":
            return 204, b"", {}
        told = f"<ETag>{escape(_tag(path.read_bytes()))}</ETag>"
        body = f"<CompleteMultipartUploadResult>{told}</CompleteMultipartUploadResult>"
        return 200, body.encode(), {}

    def _delete_all(self, folder: Path, raw: bytes) -> tuple[int, bytes, dict[str, str]]:
        if "forbid" in self.server.has:
            return _error(403, "AccessDenied")
        keys = [part.split("</Key>")[0] for part in raw.decode().split("<Key>")[1:]]
        for key in keys:
            (folder / quote(key, safe="")).unlink(missing_ok=True)
        told = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return 200, f"<DeleteResult>{told}</DeleteResult>".encode(), {}

    def _list(self, folder: Path, query: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = max(query.get("start-after", ""), query.get("continuation-token", ""))
        names = sorted(unquote(p.name) for p in folder.iterdir() if not p.name.startswith(".new-"))
        names = [n for n in names if n.startswith(prefix) and n > after]
        told, folders = [], dict[str, None]()
        page, rest = names[:PAGE], names[PAGE:]
        for name in page:
            inner = name.removeprefix(prefix)
            if delimiter and delimiter in inner:
                folders[prefix + inner.split(delimiter)[0] + delimiter] = None
                continue
            path = folder / quote(name, safe="")
            content = path.read_bytes()
            told.append(
                f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size>"
                f"<ETag>{escape(_tag(content))}</ETag><LastModified>"
                f"{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(path.stat().st_mtime))}"
                f"</LastModified></Contents>"
            )
        told += [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders]
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        head = f"<IsTruncated>{'true' if rest else 'false'}</IsTruncated>{more}"
        body = f"<ListBucketResult>{head}{''.join(told)}</ListBucketResult>"
        return 200, body.encode(), {"Content-Type": "application/xml"}

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        start, stop = 0, len(body)
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if status == 200 and asked and self.command in ("GET", "HEAD"):
            first, _, last = asked.partition("-")
            start = int(first) if first else max(len(body) - int(last), 0)
            stop = min(int(last) + 1, stop) if first and last else stop
            headers = headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}
            status = 206
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[start:stop])


def _error(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    return status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), {}


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _date(path: Path) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(path.stat().st_mtime))


if __name__ == "__main__":
    server = Server(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
