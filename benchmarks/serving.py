"""A server of `redoseg serve` under load, on this machine: requests a second, how long they take, its memory.

    python benchmarks/serving.py [--model flowers] [--photos DIR] [--seconds 10] [--json FILE]

Each of 1, 8, 32 and 128 clients asks for the mask of a photo, again and again for so many seconds, and comes
again after a second if it is told to (503). The server runs in a process of its own beside the clients', so
they share the cores. Every answer is compared with the one that the photo got before; one that is wrong or
lost ends the measurement with an error. Memory is the server's resident set, after each number of clients.
"""

import argparse
import hashlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from redoseg.cores import usable_cores
from redoseg.segmentation.checkup import draw_flower

CLIENTS = (1, 8, 32, 128)


@dataclass
class Tally:
    """What all clients of a round have seen."""

    seconds: list[float] = field(default_factory=list)
    told_to_wait: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def ask(connection: http.client.HTTPConnection, photo: bytes) -> tuple[int, str]:
    connection.request("POST", "/api/segment?type=mask", photo)
    answer = connection.getresponse()
    return answer.status, hashlib.blake2b(answer.read()).hexdigest()


def client(port: int, photos: list[tuple[bytes, str]], first: int, until: float, tally: Tally) -> None:
    connection, number = http.client.HTTPConnection("127.0.0.1", port, timeout=120), first
    while time.monotonic() < until:
        photo, right = photos[number % len(photos)]
        began, waited = time.monotonic(), 0
        try:
            status, found = ask(connection, photo)
            while status == 503:
                waited += 1
                time.sleep(1)
                status, found = ask(connection, photo)
        except OSError as error:
            status, found = 0, str(error)
            connection.close()
        with tally.lock:
            tally.told_to_wait += waited
            tally.seconds.append(time.monotonic() - began)
            if (status, found) != (200, right):
                tally.wrong.append(f"{status}: {found}")
        number += 1
    connection.close()


def measure(port: int, photos: list[tuple[bytes, str]], clients: int, seconds: float) -> dict[str, Any]:
    tally, began = Tally(), time.monotonic()
    threads = [
        threading.Thread(target=client, args=(port, photos, first, began + seconds, tally))
        for first in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if tally.wrong:
        sys.exit(f"{len(tally.wrong)} of {len(tally.seconds)} answers were wrong or lost: {tally.wrong[0]}")
    took = time.monotonic() - began
    half, most = np.percentile(tally.seconds, (50, 99))
    return {
        "clients": clients, "answers": len(tally.seconds), "a_second": round(len(tally.seconds) / took, 1),
        "p50_ms": round(1000 * half), "p99_ms": round(1000 * most), "told_to_wait": tally.told_to_wait,
    }  # fmt: skip


def resident(process: int) -> float:
    """MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024, 1)


def contents(folder: Path | None) -> list[bytes]:
    """Photos' files: those of a folder, or a drawn flower of 500 x 400 pixels."""
    if folder is not None:
        return [path.read_bytes() for path in sorted(folder.iterdir())[:24]]
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "flower.jpg"
        Image.fromarray(draw_flower()[0]).resize((500, 400)).save(file, quality=90)
        return [file.read_bytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="flowers")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    line = [sys.executable, "-m", "redoseg", "serve", options.model, "--port", "0", "--rate", "0"]
    server = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[0].rstrip("/").rpartition(":")[2])
        time.sleep(1)
        photos = []
        for content in contents(options.photos):
            status, digest = ask(http.client.HTTPConnection("127.0.0.1", port), content)
            if status != 200:
                sys.exit(f"the first answer was {status}")
            photos.append((content, digest))
        rows = []
        for clients in CLIENTS:
            rows.append(measure(port, photos, clients, options.seconds) | {"mb": resident(server.pid)})
            print(rows[-1], flush=True)
    finally:
        server.terminate()
        code = server.wait(60)
    found = {
        "model": options.model,
        "photos": len(photos),
        "cores": usable_cores(),
        "exit": code,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
