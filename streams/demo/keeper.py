"""A process that starts others and never outlives its purpose: when its standard input ends, it ends them all.

The demo talks to it in lines of JSON. Whatever becomes of the demo, be it kill -9, its end of the pipe closes, and
the keeper stops what it started, last first, and removes the folder. It needs the standard library and nothing else,
and runs in a session of its own, out of the reach of Ctrl-C.

    in   {"name": "worker", "arguments": [...], "environment": {...}, "log": "/path"}
    out  {"name": "worker", "pid": 4711}         once started
         {"name": "worker", "status": 70}        when it has ended by itself
"""

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

STOP_SECONDS = 8.0
"""How long a process may take to end after SIGTERM, before SIGKILL."""


class Keeper:
    """Starts processes, reports their ends, and ends them.

    Args:
        folder: Removed at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._closing = False
        self._speaking = threading.Lock()

    def start(self, order: dict[str, Any]) -> None:
        """Start one process as ordered, its output in a file."""
        with Path(order["log"]).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # the demo's own arguments
                order["arguments"],
                env=order["environment"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        self._say({"name": order["name"], "pid": process.pid})
        threading.Thread(target=self._watch, args=(order["name"], process), daemon=True).start()

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if not self._closing:
            self._say({"name": name, "status": status})

    def _say(self, line: dict[str, Any]) -> None:
        with self._speaking:
            try:
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
            except OSError:
                pass  # nobody listens any more; what is to be done is known without them

    def close(self) -> None:
        """End every process, the last started first, and remove the folder."""
        self._closing = True
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> None:
    """Serve until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Not SIG_IGN: what is started would inherit that, and be deaf to being ended.
        signal.signal(number, lambda *_: None)
    keeper = Keeper(Path(sys.argv[1]))
    try:
        for line in sys.stdin:
            keeper.start(json.loads(line))
    finally:
        keeper.close()


if __name__ == "__main__":
    main()
