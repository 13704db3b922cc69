"""Downloads are checked against their digest; trouble is one line. The server is a thread of this process."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from featherweight.data.download import fetch

CONTENT = b"digits"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Files(BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/good/a.bin"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()
        self.wfile.write(CONTENT if found else b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_first_mirror_that_has_the_file_serves(address, tmp_path):
    paths = fetch(["a.bin"], [f"{address}/gone/", f"{address}/good/"], [DIGEST], tmp_path)
    assert paths == (tmp_path / "a.bin",)
    assert paths[0].read_bytes() == CONTENT


def test_a_wrong_digest_is_refused_and_nothing_is_kept(address, tmp_path):
    why = fetch(["a.bin"], [f"{address}/good/"], [f"sha256:{'0' * 64}"], tmp_path)
    assert why.startswith("ValueError")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_told_in_one_line(address, tmp_path):
    why = fetch(["a.bin"], [f"{address}/gone/"], [DIGEST], tmp_path)
    assert "404" in why
    assert "\n" not in why
    assert len(why) < 120


def test_no_mirror_is_said(tmp_path):
    assert fetch(["a.bin"], [], [DIGEST], tmp_path) == "no address is known"
