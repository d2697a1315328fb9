"""A report that follows its runs: served to this machine only, made anew when a run's files have changed."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
_NAMES = ("127.0.0.1", "localhost")


class Shown:
    """What is served now: a page and its version."""

    def __init__(self, page: str, version: str) -> None:
        self.page, self.version = page, version


class ReportServer:
    """Serves one page to this machine; ``show`` replaces it.

    It listens on the loopback address alone, reads nothing from disk for a request, and answers only those that name it as
    this machine: a web page elsewhere cannot have a browser read it under another name.
    """

    def __init__(self, port: int = 0) -> None:
        self._shown = Shown("", "")
        shown: Callable[[], Shown] = lambda: self._shown  # noqa: E731

        class Handler(_Handler):
            now = staticmethod(shown)

        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}/"

    def show(self, page: str, version: str) -> None:
        self._shown = Shown(page, version)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "loopwright", ""
    now: Callable[[], Shown]

    def do_GET(self) -> None:
        shown, path = self.now(), self.path.partition("?")[0]
        name = (self.headers.get("Host") or "").rpartition(":")[0]
        if name not in _NAMES:
            self._answer(403, "text/plain", "this report is for this machine only")
        elif path == "/":
            self._answer(200, "text/html", shown.page)
        elif path == "/version":
            self._answer(200, "text/plain", shown.version)
        else:
            self._answer(404, "text/plain", "there is / and /version")

    def _answer(self, code: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """A line for every look would bury the terminal."""


def repeat(make: Callable[[], bool], every: float, *, until: Callable[[], bool] = lambda: False) -> None:
    """Call ``make`` every so many seconds, or less often where it takes long; until it is over, or Ctrl-C."""
    while not until():
        began = time.monotonic()
        make()
        time.sleep(max(every, 4 * (time.monotonic() - began)))
