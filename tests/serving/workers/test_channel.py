import pickle
import socket
from threading import Thread

import torch

from diffes.serving.workers.channel import Channel, _pickled

Ends = tuple[Channel[object, object], Channel[object, object]]


def ends() -> Ends:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(one), Channel(other)


def test_messages_arrive_whole_and_in_order_before_the_channel_ends() -> None:
    one, other = ends()
    images = torch.arange(3 * 512 * 512, dtype=torch.float32).view(1, 3, 512, 512)
    for message in ("first", images, "last"):
        one.send(message)
    closing = Thread(target=one.close)
    closing.start()
    first, received, last = other.received()
    closing.join()
    assert list(one.received()) == []
    assert (first, last) == ("first", "last")
    assert torch.equal(received, images)  # type: ignore[arg-type]


def test_of_a_tensor_s_view_nothing_else_is_sent_and_what_arrives_can_be_written_to() -> None:
    images = torch.zeros(64, 3, 8, 8)
    sent = _pickled({"preview": images[1], "turned": images[2].transpose(0, 1)})
    assert len(sent) < 3 * images[1].nbytes
    received = pickle.loads(sent)
    assert received["preview"].shape == (3, 8, 8)
    assert received["turned"].shape == (8, 3, 8)
    received["preview"] += 1


def test_who_sends_does_not_wait_for_who_reads() -> None:
    one, other = ends()
    for _ in range(8):
        one.send(torch.zeros(1 << 20))
    other.close()
    assert list(one.received()) == []
    list(other.received())


def test_either_end_ends_both() -> None:
    one, other = ends()
    one.close()
    other.send("too late")
    assert list(other.received()) == []
    assert list(one.received()) == []


def test_a_message_cut_short_is_none() -> None:
    raw, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel: Channel[object, object] = Channel(connection)
    raw.sendall(b"\x80\x05\x95")
    raw.close()
    assert list(channel.received()) == []
