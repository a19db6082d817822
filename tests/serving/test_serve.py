"""`redoseg serve` as a process: where it listens, how it ends, and what it can't do."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from redoseg.segmentation.checkup import draw_flower
from redoseg.serving.answers import png


def begun(tmp_path, *options, ignored=None):
    """A server's process and its first line. Its temporary files lie in tmp_path / "tmp"."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "redoseg", "serve", *options], cwd=tmp_path, stdout=subprocess.PIPE,
        preexec_fn=(lambda: signal.signal(ignored, signal.SIG_IGN)) if ignored else None,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline()


def ask(port, path="/api/model", body=None, method="GET"):
    """The status of the answer."""
    for _ in range(100):  # it is listened at before the first answer
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            try:
                connection.request(method, path, body)
                return connection.getresponse().status
            except OSError:
                time.sleep(0.1)
    raise AssertionError("no answer")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_a_signal_and_leaves_nothing(tmp_path, number):
    process, line = begun(tmp_path, "flowers", "--port", "0")
    try:
        port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", line)[1])
        photo = png(Image.fromarray(draw_flower()[0]))
        assert ask(port, "/api/segment", photo, "POST") == 200
        assert ask(port, "/api/albums", b"", "POST") == 201
        assert any((tmp_path / "tmp").iterdir())
    finally:
        process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert not any((tmp_path / "tmp").iterdir())


def test_elsewhere_a_token_is_made_up(tmp_path):
    process, line = begun(tmp_path, "flowers", "--port", "0", "--host", "0.0.0.0")
    try:
        found = re.fullmatch(r"http://[^/]+:(\d+)/\?token=([\w-]{20,}) \(Ctrl-C ends it\)\n", line)
        assert found is not None
        assert ask(int(found[1])) == 401
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_what_takes_too_long_is_broken_off_by_a_second_signal(tmp_path):
    """An archive of many photos: the first signal lets it be finished, the second doesn't."""
    process, line = begun(tmp_path, "flowers", "--port", "0", "--rate", "0")
    try:
        port = int(line.split("/")[2].partition(":")[2])
        ask(port)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", "/api/albums", b"")
            album = json.loads(connection.getresponse().read())["album"]
        large = Image.fromarray(draw_flower()[0]).resize((1600, 1200))
        for number in range(40):
            path = f"/api/albums/{album}/photos/{number}.png?refine=off"
            assert ask(port, path, png(large), "PUT") == 200
        found = []
        packing = threading.Thread(
            target=lambda: found.append(
                ask(port, f"/api/albums/{album}/masks.zip?type=mask,soft,rgba,overlay")
            )
        )
        packing.start()
        time.sleep(1)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        packing.join(60)
    finally:
        process.terminate()
    out, error = process.communicate(timeout=60)
    assert found == [503]
    assert (out, error, process.returncode) == ("", "", 0)
    assert not any((tmp_path / "tmp").iterdir())


def test_what_is_ignored_stays_ignored(tmp_path):
    """As nohup does it with SIGHUP."""
    process, line = begun(tmp_path, "flowers", "--port", "0", ignored=signal.SIGHUP)
    try:
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert ask(int(line.split("/")[2].partition(":")[2])) == 200
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere", "--port", "0"], "nowhere"),
        (["flowers", "nothing/", "--port", "0"], "nothing"),
        (["flowers", "--port", "70000"], "--port is 70000: it must be from 0, a free one, to 65535"),
        (["flowers", "--host", "nowhere.invalid"], "--host nowhere.invalid is no address of this machine"),
        (["flowers", "--token", "short"], "--token can't be that"),
        (["flowers", "--megabytes", "0"], "--megabytes is 0: it must be at least 1"),
        (["flowers", "--megapixels", "400"], "--megapixels is 400: it must be from 1 to 178"),
    ],
)
def test_what_it_cant_do_is_one_line(command, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    code, out, error = command("serve", *options)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert said in error


def test_a_port_in_use_is_named(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, error = command("serve", "flowers", "--port", taken.getsockname()[1])
    assert code == 1
    assert "in use" in error
    assert "--port 0 takes a free one" in error


def test_without_the_extra_it_says_which(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, error = command("serve", "flowers")
    assert code == 1
    assert "pip install 'redoseg[web]'" in error


def test_everything_of_the_page_is_its_own():
    """No address of another server, so that it works without a network and tells nobody."""
    assets = Path(__file__).parents[2] / "src" / "redoseg" / "serving" / "assets"
    texts = [file.read_text() for file in assets.iterdir()]
    assert len(texts) == 7
    assert not [text for text in texts if re.search(r"https?://|//[a-z]+\.[a-z]", text)]
