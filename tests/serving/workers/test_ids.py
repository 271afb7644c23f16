from diffes.serving.workers.ids import new_id, worker_of


def test_an_id_says_which_worker_was_asked() -> None:
    assert worker_of(new_id(3)) == 3
    assert new_id(3) != new_id(3)
    for other in ("", "img-3", new_id(3) + "0", "img-x-" + "0" * 32, "img--1-" + "0" * 32):
        assert worker_of(other) is None
