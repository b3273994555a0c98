"""What processes tell each other, and what they are told when one of them fails."""

import contextlib
import errno
import socket

import pytest

from experiments.parallel.hub import Hub
from experiments.parallel.messages import Link, connect


class Meeting:
    """A hub for some processes, and links to it."""

    def __init__(self, count, stack, seconds=5):
        self.stack = stack
        server = socket.create_server(("localhost", 0))
        self.port = server.getsockname()[1]
        self.hub = Hub(server, count, seconds)
        self.hub.start()

    def link(self, hello=None):
        link = connect("localhost", self.port, 5)
        self.stack.callback(link.socket.close)
        if hello is not None:
            link.send(hello)
        return link

    def member(self, index, flags=("--seed=0",)):
        return self.link({"process": index, "name": f"host-{index}", "flags": flags})

    def failure(self):
        self.hub.join(10)
        assert not self.hub.is_alive()
        return self.hub.failure


@pytest.fixture
def barrier():
    """Makes a meeting of some processes."""
    with contextlib.ExitStack() as stack:
        yield lambda count: Meeting(count, stack)


@pytest.fixture
def start(meet):
    """Makes a meeting whose processes have started, and their links."""

    def started(count):
        meeting = meet(count)
        links = [meeting.member(index) for index in range(count)]
        assert len({link.receive(5)["go"] for link in links}) == 1
        return meeting, links

    return started


def end(code, line=""):
    return {"ended": code, "line": line}


def test_processes_meet_whatever_else_comes(meet):
    """Strays, one that is there twice, one that goes and comes back."""
    meeting = meet(2)
    meeting.link({"process": 1})
    meeting.link({"process": [], "name": "", "flags": []})
    meeting.link().socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
    meeting.member(1).socket.close()
    assert "there are 2" in meeting.member(7).receive(5)["alone"]
    first = meeting.member(1)
    assert "is there already" in meeting.member(1).receive(5)["alone"]
    links = [first, meeting.member(0)]
    assert all("go" in link.receive(5) for link in links)
    for link in links:
        link.send(end(0))
    assert meeting.failure() is None


@pytest.mark.parametrize(
    ("ends", "failure"),
    [
        ([end(0), end(0), end(0)], None),
        ([end(130), end(130), end(130)], None),
        ([end(2, "no such data"), end(-6), end(1)], "no such data"),
        ([end(-6), end(2, "no such data"), end(1)], "on host-1: no such data"),
        ([end(2, "no peer"), end(-9), end(-6)], "host-1 was lost (signal 9)"),
        ([end(1), None, end(2, "no peer")], "host-1 was lost: go on"),
        ([end(1), end(-6), end(-6)], "it ended with code 1"),
    ],
)
def test_the_first_failure_is_told(start, ends, failure):
    meeting, links = start(3)
    for link, one in reversed(list(zip(links, ends, strict=True))):
        if one:
            link.send(one)
        else:
            link.socket.close()
    found = meeting.failure()
    assert (found is None) if failure is None else failure in found
    if failure:
        assert links[0].receive(5) == {"stop": found}


def test_one_that_is_interrupted_alone_stops_the_others(start):
    meeting, links = start(2)
    links[1].send(end(130))
    assert "process 1 on host-1 was interrupted" in links[0].receive(10)["stop"]
    assert meeting.failure()


def test_other_flags_are_named(meet):
    meeting = meet(2)
    links = [meeting.member(0), meeting.member(1, ["--seed=1"])]
    told = links[1].receive(5)["stop"]
    assert told.endswith("--seed=1 instead of --seed=0") and meeting.failure() == told


@pytest.fixture
def pair():
    """Two ends of a connection."""
    with socket.create_server(("localhost", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


def test_a_peer_that_does_not_answer_is_lost(pair, monkeypatch):
    def silent(*_):
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    link = Link(pair[0])
    monkeypatch.setattr(link, "socket", type("Silent", (), {"recv": silent})())
    assert link.receive() is None


def test_waiting_has_an_end(pair):
    link = Link(pair[0])
    with pytest.raises(TimeoutError):
        link.receive(0.05)
    pair[1].sendall(b'{"a": 1}\n{"b": 2}\n')
    assert link.receive(1) == {"a": 1} and link.receive(1) == {"b": 2}
