"""A small sample of the hostile files of `python tests/hostile_files.py`, and that what it counts is counted."""

import os
import socket
import sys

import pytest

from hostile_files import RAW, feed, listening, snapshot
from hostile_media import OUTWARD, PLAIN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux",
        reason="makes named pipes and sockets, and reads /proc: Linux only",
    ),
]


def test_hostile_files_are_prepared_or_set_aside_and_do_nothing_else(tmp_path):
    report = feed(tmp_path / "run", seed=3, count=30)
    assert report.faults == []
    assert set(report.made) == {*PLAIN, *OUTWARD, "strange name", "long name", "not a regular file", "sparse"}
    assert report.prepared + report.rejected.total() == report.scored + report.refused == 30
    assert report.prepared > 5 and report.rejected.total() > 5 and 0 < report.peak < 2


def test_what_must_not_happen_is_seen(tmp_path):
    with listening() as (port, heard):
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
            caller.shutdown(socket.SHUT_WR)
            caller.recv(1)
    assert heard == [b"GET / HTTP/1.0\r\n\r\n"]
    (tmp_path / "a").write_text("a")
    (tmp_path / "out").mkdir()
    before = snapshot(tmp_path, tmp_path / "out")
    (tmp_path / "out/b").write_text("b")
    os.mkfifo(tmp_path / "out/pipe")
    assert snapshot(tmp_path, tmp_path / "out") == before
    (tmp_path / "a").write_text("b")
    assert snapshot(tmp_path, tmp_path / "out") != before
    for raw in ("AttributeError: 'NoneType' object has no attribute 'name'", "its process crashed (exit code -11)"):
        assert RAW.search(raw)
    assert not RAW.search("not a readable video (Invalid data found when processing input)")
