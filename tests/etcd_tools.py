"""An etcd for tests: a fake that speaks its JSON under a clock of its own, and a real one."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from control.authority.errors import AuthorityUnavailable
from control.authority.gateway import Gateway
from control.authority.post import Post
from control.pki import Issued

ETCD = shutil.which("etcd") or "/usr/bin/etcd"


@dataclass
class Lease:
    """A lease of so many seconds, and when it ends."""

    ttl: int
    ends: float


@dataclass
class FakeEtcd:
    """Answers like etcd's gateway. Time passes by :attr:`now` alone."""

    now: float = 0.0
    down: bool = False
    revision: int = 1
    leases: dict[int, Lease] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def __call__(self, path: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request."""
        if self.down:
            raise AuthorityUnavailable("it is down")
        self.paths.append(path)
        self._expire()
        calls = {
            "/v3/lease/grant": self._grant,
            "/v3/lease/keepalive": self._keep_alive,
            "/v3/lease/revoke": self._revoke,
            "/v3/kv/range": self._range,
            "/v3/kv/txn": self._transact,
        }
        found: Mapping[str, Any] = json.loads(json.dumps(calls[path](message)))
        return found

    def _expire(self) -> None:
        for number in [n for n, lease in self.leases.items() if lease.ends <= self.now]:
            self._end(number)

    def _end(self, number: int) -> None:
        self.leases.pop(number, None)
        for key in [k for k, one in self.keys.items() if int(one.get("lease", 0)) == number]:
            self.revision += 1
            del self.keys[key]

    def _grant(self, message: Mapping[str, Any]) -> dict[str, Any]:
        number = 7587848943239472601 + self.revision + len(self.leases)
        while number in self.leases:
            number += 1
        ttl = int(message["TTL"])
        self.leases[number] = Lease(ttl, self.now + ttl)
        return {"ID": str(number), "TTL": str(ttl)}

    def _keep_alive(self, message: Mapping[str, Any]) -> dict[str, Any]:
        lease = self.leases.get(int(message["ID"]))
        if lease is None:
            return {"result": {"ID": message["ID"]}}
        lease.ends = self.now + lease.ttl
        return {"result": {"ID": message["ID"], "TTL": str(lease.ttl)}}

    def _revoke(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self._end(int(message["ID"]))
        return {}

    def _range(self, message: Mapping[str, Any]) -> dict[str, Any]:
        first, end = decoded(message["key"]), decoded(message["range_end"])
        found = [one for key, one in sorted(self.keys.items()) if first <= key < end]
        return {"kvs": found, "count": str(len(found))} if found else {}

    def _transact(self, message: Mapping[str, Any]) -> dict[str, Any]:
        for compare in message["compare"]:
            assert (compare["target"], compare["result"]) == ("MOD", "EQUAL")
            there = self.keys.get(decoded(compare["key"]), {})
            if int(there.get("mod_revision", 0)) != int(compare["mod_revision"]):
                return {}
        leases = [int(step.get("request_put", {}).get("lease", 0)) for step in message["success"]]
        if any(lease and lease not in self.leases for lease in leases):
            return {}
        self.revision += 1
        for step in message["success"]:
            if "request_delete_range" in step:
                self.keys.pop(decoded(step["request_delete_range"]["key"]), None)
                continue
            put = step["request_put"]
            one = {"key": put["key"], "value": put["value"], "mod_revision": str(self.revision)}
            if int(put["lease"]):
                one["lease"] = put["lease"]
            self.keys[decoded(put["key"])] = one
        return {"succeeded": True}


def decoded(text: str) -> str:
    """What a base64 field says."""
    return base64.b64decode(text).decode()


@contextmanager
def served(
    answers: FakeEtcd,
    status: int = 200,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """The fake over HTTP; its endpoint. ``body``: the same answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps(answers(self.path, message)).encode() if body is None else body
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A TCP port of loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def real_etcd(own: Issued | None = None) -> Iterator[str]:
    """Debian's etcd-server on loopback, in a directory of its own; its endpoint.

    :param own: its certificate; clients need one of the same authority then.
    """
    peer = f"http://127.0.0.1:{free_port()}"
    client = f"http{'s' if own else ''}://127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as directory:
        words = [ETCD, "--data-dir", directory, "--log-level", "error", "--unsafe-no-fsync"]
        words += ["--listen-client-urls", client, "--advertise-client-urls", client]
        words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        words += ["--initial-cluster", f"default={peer}"]
        post = Post([client], 10.0)
        if own is not None:
            words += ["--cert-file", str(own.cert), "--key-file", str(own.key)]
            words += ["--client-cert-auth", "--trusted-ca-file", str(own.ca)]
            post = Post([client], 10.0, ca=own.ca, cert=own.cert, key=own.key)
        server = subprocess.Popen(words)
        try:
            _until_answers(Gateway(post), server)
            yield client
        finally:
            server.terminate()
            server.wait(30)


def _until_answers(gateway: Gateway, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None, "etcd ended"
        try:
            gateway.below("/none/")
        except AuthorityUnavailable:
            assert time.monotonic() < deadline, "etcd does not answer"
            time.sleep(0.1)
        else:
            return
