"""A relay is a network that can be cut: what goes through is whole, and nothing goes through while it is cut."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from loadtest.relay import Relay
from tests.service import free_port
from tests.serving.waiting import wait_for

SECONDS = 20.0
PIECE = 1 << 16
Handle = Callable[[socket.socket], None]


def everything(end: socket.socket) -> bytes:
    """All that comes, to its end."""
    pieces = []
    while piece := end.recv(PIECE):
        pieces.append(piece)
    return b"".join(pieces)


def echo(end: socket.socket) -> None:
    while piece := end.recv(PIECE):
        end.sendall(piece)


def answer_at_the_end(end: socket.socket) -> None:
    end.sendall(everything(end)[::-1])


@contextmanager
def serving(handle: Handle) -> Iterator[int]:
    """The port of a server whose every connection is handled so, to its end."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                handle(self.request)

    class Server(ThreadingTCPServer):
        request_queue_size = 200

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def relayed(handle: Handle = echo) -> Iterator[Relay]:
    """A relay before such a server; no thread is left of either."""
    before = threading.active_count()
    with serving(handle) as port, closing(Relay("127.0.0.1", port)) as relay:
        yield relay
    wait_for(lambda: threading.active_count() == before)


def caller(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), SECONDS)


def told(end: socket.socket, words: bytes) -> bytes:
    """What is answered to some words."""
    end.sendall(words)
    heard = b""
    while len(heard) < len(words) and (piece := end.recv(PIECE)):
        heard += piece
    return heard


def say_all(end: socket.socket, words: bytes) -> None:
    end.sendall(words)
    end.shutdown(socket.SHUT_WR)


def is_over(end: socket.socket) -> bool:
    """Whether the connection ends, and nothing more came by it."""
    try:
        return end.recv(PIECE) == b""
    except ConnectionError:
        return True


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_bytes_go_both_ways() -> None:
    with relayed() as relay, caller(relay) as end:
        assert told(end, b"one") == b"one"
        assert told(end, b"\x00two") == b"\x00two"


def test_a_large_transfer_is_whole_both_ways() -> None:
    large = noise(32 << 20)
    with relayed() as relay, caller(relay) as end:
        sender = threading.Thread(target=say_all, args=(end, large))
        sender.start()
        assert everything(end) == large
        sender.join()


def test_who_has_said_all_still_hears_the_answer() -> None:
    words = noise(1 << 20)
    with relayed(answer_at_the_end) as relay, caller(relay) as end:
        say_all(end, words)
        assert everything(end) == words[::-1]


def test_what_was_said_before_the_server_left_is_heard_to_its_end() -> None:
    words = noise(4 << 20)
    with relayed(lambda end: end.sendall(words)) as relay, caller(relay) as end:
        assert everything(end) == words


def test_many_at_once_hear_their_own_words() -> None:
    def ask(number: int) -> bool:
        words = noise(10_000 + number)
        with caller(relay) as end:
            return all(told(end, words) == words for _ in range(3))

    with relayed() as relay, ThreadPoolExecutor(50) as callers:
        assert all(callers.map(ask, range(200)))


def test_a_cut_ends_every_connection_at_once() -> None:
    with relayed() as relay:
        ends = [caller(relay) for _ in range(20)]
        assert [told(end, b"here") for end in ends] == [b"here"] * 20
        relay.cut()
        assert all(is_over(end) for end in ends)
        for end in ends:
            end.close()


def test_a_cut_ends_a_transfer_that_nobody_takes() -> None:
    def send_without_end(end: socket.socket) -> None:
        while True:
            end.sendall(bytes(PIECE))

    with relayed(send_without_end) as relay, caller(relay) as end:
        end.recv(1)
        relay.cut()
        with suppress(ConnectionError):
            everything(end)


def test_while_it_is_cut_new_connections_end_and_the_server_hears_of_none() -> None:
    heard: list[bytes] = []
    with relayed(lambda end: heard.append(everything(end))) as relay:
        relay.cut()
        for _ in range(5):
            with caller(relay) as end, suppress(ConnectionError):
                end.sendall(b"hello")
                assert is_over(end)
    assert heard == []


def test_mended_it_lets_new_connections_through_and_no_old_one() -> None:
    with relayed() as relay, caller(relay) as old:
        assert told(old, b"before") == b"before"
        for words in (b"once", b"again"):
            relay.cut()
            relay.mend()
            assert is_over(old)
            with caller(relay) as new:
                assert told(new, words) == words


def test_where_there_is_no_server_connections_end() -> None:
    with closing(Relay("127.0.0.1", free_port())) as relay, caller(relay) as end:
        assert is_over(end)


def test_a_server_that_comes_later_is_found() -> None:
    port = free_port()
    with closing(Relay("127.0.0.1", port)) as relay:
        with caller(relay) as end:
            assert is_over(end)
        with socket.create_server(("127.0.0.1", port)) as server, caller(relay) as end:
            there, _ = server.accept()
            with there:
                there.sendall(b"here")
                assert end.recv(PIECE) == b"here"


def test_closed_it_has_no_connection_no_thread_and_no_port() -> None:
    before = threading.active_count()
    with serving(echo) as port:
        relay = Relay("127.0.0.1", port)
        with caller(relay) as end:
            assert told(end, b"hello") == b"hello"
            relay.close()
            assert is_over(end)
        with pytest.raises(ConnectionRefusedError):
            caller(relay)
        wait_for(lambda: threading.active_count() == before + 1)
    assert threading.active_count() == before
