from diffes.serving.workers.ids import new_id


def test_an_id_says_which_worker_was_asked_and_is_never_given_twice() -> None:
    assert new_id(3).startswith("img-3-")
    assert new_id(3) != new_id(3)
