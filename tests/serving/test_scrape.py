"""What a scrape does not show."""

from diffes.serving.scrape import known_endpoints_only


def test_lines_of_unknown_endpoints_are_dropped_and_all_others_kept() -> None:
    kept = [
        '# HELP bento_total endpoint="/x"',
        'bento_total{endpoint="/generate",code="200"} 1.0',
        'bento_total{code="200",endpoint="/metrics"} 1.0',
        'diffes_requests_total{status="done"} 1.0',
    ]
    dropped = ['bento_total{endpoint="/wp-login.php"} 1.0', 'bento_total{code="404",endpoint="/a\\"b"} 1.0']
    text = "\n".join([*kept[:2], *dropped, *kept[2:]]) + "\n"
    assert known_endpoints_only(text, ["/generate", "/metrics"]) == "\n".join(kept) + "\n"
