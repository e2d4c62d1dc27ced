"""gateway/sends.py: one contract for the sends in C and for those in Python."""

import mmap
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway import sends

PLACE = 1
ROOT = Path(__file__).resolve().parents[2]
NOT_BUILT = "gateway/_sends.c is not built: there was no C compiler, or no Python headers"


@pytest.fixture(params=["C", "Python"])
def language(request):
    if request.param == "C" and sends.LANGUAGE != "C":
        assert not os.environ.get("CI"), NOT_BUILT
        pytest.skip(NOT_BUILT)
    return request.param


@pytest.fixture
def send(language):
    return sends.send if language == "C" else sends.send_in_python


@pytest.fixture
def send_each(language):
    return sends.send_each if language == "C" else sends.send_each_in_python


@pytest.fixture
def memory():
    """What a process leaves behind."""
    return mmap.mmap(-1, 12)


@pytest.fixture
def words(memory):
    """As in a ledger."""
    whole = memoryview(memory).cast("i")
    whole[0] = whole[1] = whole[2] = -7
    return whole


@pytest.fixture
def marks():
    return memoryview(bytearray(4 * 1024)).cast("I")


@pytest.fixture
def pair(no_leaks):
    """Makes pairs of sockets, (ours, theirs)."""
    made = []

    def make():
        made.append(socket.socketpair())
        made[-1][0].setblocking(False)
        return made[-1]

    yield make
    for ours, theirs in made:
        ours.close()
        theirs.close()


def fill(ours):
    """Until it takes nothing any more."""
    with suppress(BlockingIOError):
        while ours.send(bytes(4096)):
            pass


def drain(theirs):
    """Everything that was sent to it."""
    theirs.setblocking(False)
    received = bytearray()
    with suppress(BlockingIOError):
        while data := theirs.recv(1 << 20):
            received += data
    return bytes(received)


# --- one


@pytest.mark.parametrize("data", [b"hello", b"", bytearray(b"hello"), memoryview(b"hello world")[::1][:5]])
def test_what_is_sent_arrives(send, pair, data):
    ours, theirs = pair()
    assert send(ours.fileno(), data) == len(data)
    assert drain(theirs) == data


def test_a_socket_takes_what_it_has_room_for(send, pair):
    ours, theirs = pair()
    data = os.urandom(4 << 20)
    taken = send(ours.fileno(), data)
    assert 0 < taken < len(data)
    fill(ours)
    with pytest.raises(BlockingIOError):
        send(ours.fileno(), data)
    assert drain(theirs)[:taken] == data[:taken]


def test_a_peer_that_has_closed(send, pair):
    ours, theirs = pair()
    theirs.close()
    with pytest.raises(BrokenPipeError):
        send(ours.fileno(), b"x")


@pytest.mark.parametrize("fd", [-1, 1_000_000])
def test_a_descriptor_that_is_not_open(send, fd):
    with pytest.raises(OSError, match="Bad file descriptor"):
        send(fd, b"x")


@pytest.mark.parametrize(
    "arguments", [(), (1,), (1, b"x", 1), ("1", b"x"), (None, b"x"), (1.0, b"x"), (1, "x"), (1, None)]
)
def test_arguments_of_other_types(send, arguments):
    with pytest.raises(TypeError):
        send(*arguments)


@pytest.mark.parametrize("fd", [1 << 31, -(1 << 31) - 1, 1 << 80])
def test_numbers_that_no_descriptor_has(send, fd):
    with pytest.raises(OverflowError):
        send(fd, b"x")


# --- the same to each


@pytest.mark.parametrize("data", [b"hello", b"", bytearray(b"hello")])
def test_each_gets_it(send_each, pair, words, marks, data):
    pairs = [pair() for _ in range(5)]
    fds = [ours.fileno() for ours, _ in pairs]
    assert send_each(fds, data, words, PLACE, marks, 1 << 31) == []
    assert [drain(theirs) for _, theirs in pairs] == [data] * 5
    assert list(words) == [-7, -1, -7]
    assert {fd: mark for fd, mark in enumerate(marks) if mark} == dict.fromkeys(fds, 1 << 31)


def test_none(send_each, words, marks):
    assert send_each([], b"x", words, PLACE, marks, 1) == []
    assert not any(marks)
    assert list(words) == [-7, -1, -7]


def test_those_that_did_not_take_all_are_told(send_each, pair, words, marks):
    well, full, gone, narrow, last = [pair() for _ in range(5)]
    fill(full[0])
    gone[1].close()
    narrow[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    data = os.urandom(100_000)
    fds = [well[0].fileno(), full[0].fileno(), gone[0].fileno(), -1, narrow[0].fileno(), last[0].fileno()]
    *failed, (index, taken) = send_each(fds, data, words, PLACE, marks, 9)
    assert failed == [(1, 0), (2, 0), (3, 0)]
    assert index == 4
    assert 0 < taken < len(data)
    assert drain(well[1]) == drain(last[1]) == data
    assert drain(narrow[1]) == data[:taken]
    assert list(words) == [-7, -1, -7]
    assert [marks[fd] for fd in fds if fd > 0] == [9, 0, 0, sends.TORN, 9]


def test_a_descriptor_without_a_mark_is_sent_to(send_each, pair, words):
    ours, theirs = pair()
    few = memoryview(bytearray(4)).cast("I")
    assert send_each([ours.fileno()], b"x", words, PLACE, few, 1) == []
    assert (drain(theirs), few[0]) == (b"x", 0)


def test_the_word_names_the_socket_that_is_sent_to(send_each, pair, memory, words, marks):
    """What is sent is the word itself."""
    pairs = [pair() for _ in range(3)]
    fds = [ours.fileno() for ours, _ in pairs]
    assert send_each(fds, memoryview(memory)[4:8], words, PLACE, marks, 1) == []
    assert [int.from_bytes(drain(theirs), sys.byteorder) for _, theirs in pairs] == fds


def test_one_that_is_no_descriptor_ends_it(send_each, pair, words, marks):
    """Those in front have it; the word is clear, and nothing is held."""
    (ours, theirs), data = pair(), bytearray(b"hello")
    for wrong in ("1", None, 1.5):
        with pytest.raises(TypeError):
            send_each([-1, ours.fileno(), wrong, ours.fileno()], data, words, PLACE, marks, 1)
        assert drain(theirs) == b"hello"
    with pytest.raises((OverflowError, ValueError)):
        send_each([1 << 40], data, words, PLACE, marks, 1)
    assert list(words) == [-7, -1, -7]
    data.append(0)
    words.release()
    marks.release()


def test_other_arguments_that_are_wrong(send_each, pair, words, marks):
    fds = [pair()[0].fileno()]
    for arguments in (
        (),
        ([], b"x", words, PLACE),
        ([], b"x", words, PLACE, marks, 1, 1),
        (tuple(fds), b"x", words, PLACE, marks, 1),
        (fds, "x", words, PLACE, marks, 1),
        (fds, None, words, PLACE, marks, 1),
        (fds, b"x", None, PLACE, marks, 1),
        (fds, b"x", words, "1", marks, 1),
        (fds, b"x", words, PLACE, None, 1),
        (fds, b"x", words, PLACE, marks, "1"),
    ):
        with pytest.raises(TypeError):
            send_each(*arguments)
    with pytest.raises((TypeError, BufferError)):
        send_each(fds, b"x", words.toreadonly(), PLACE, marks, 1)
    with pytest.raises((TypeError, BufferError)):
        send_each(fds, b"x", words, PLACE, marks.toreadonly(), 1)
    with pytest.raises(IndexError):
        send_each(fds, b"x", words, 3, marks, 1)
    for mark in (-1, 1 << 32):
        with pytest.raises((OverflowError, ValueError)):
            send_each(fds, b"x", words, PLACE, marks, mark)
    assert words[0] == words[2] == -7
    words.release()
    marks.release()


# --- which of them


def test_without_the_part_in_c_those_in_python_are_used():
    code = "import sys; sys.modules['gateway._sends'] = None; from gateway import sends as s; "
    code += "print(s.LANGUAGE, s.send is s.send_in_python, s.send_each is s.send_each_in_python)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "Python True True\n"


def test_a_loop_says_which(clients, caplog):
    caplog.set_level("INFO")
    one = clients()
    one.loop.start(None)
    assert f"sends to clients are made in {sends.LANGUAGE}" in caplog.text
