"""The command that runs locust."""

from pathlib import Path

from loadtest.run import LOCUSTFILE, Asked, command


def test_the_command_says_what_is_asked_and_leaves_defaults_to_the_service() -> None:
    plain = command("http://h:1", 2, 5, Asked(), None)
    full = command("http://h:1", 2, 5, Asked(images=3, steps=7, schedule="fast", seed=4), Path("rows.jsonl"))
    assert LOCUSTFILE.is_file()
    assert not {"--steps", "--schedule", "--rows"} & set(plain)
    pairs = {full[i]: full[i + 1] for i in range(len(full) - 1)}
    wanted = {"--images": "3", "--steps": "7", "--schedule": "fast", "--seed": "4", "--rows": "rows.jsonl", "-t": "5s"}
    assert wanted.items() <= pairs.items()
