from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def test_two_hundred_requests_are_answered_well(api, task):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.ask("POST", "/tasks", task)[0], range(200)))
    assert set(answers) == {201}
    assert api.app.requests["POST", 201] == 200
