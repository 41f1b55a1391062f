"""Each server has its own pool of connections; those asked longest ago are let go, and never one that is in use."""

from __future__ import annotations

import httpx
import pytest

from tasks.adapters.pooled_http import PooledPerServer


class Transport(httpx.BaseTransport):
    """Answers every request, but for ``/lost``, and knows whether it was closed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if request.url.path == "/lost":
            raise httpx.ReadError("lost")
        return httpx.Response(200, stream=httpx.ByteStream(b"well"))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made() -> list[Transport]:
    return []


@pytest.fixture
def client(made: list[Transport]) -> httpx.Client:
    def make() -> Transport:
        made.append(Transport())
        return made[-1]

    return httpx.Client(transport=PooledPerServer(make, most=2))


def test_a_server_is_asked_through_a_pool_of_its_own(client: httpx.Client, made: list[Transport]) -> None:
    for url in ("http://a/1", "http://b/1", "http://a:81/1", "https://a/1", "http://b/2"):
        assert client.get(url).text == "well"
    assert [one.asked for one in made] == [
        ["http://a/1"],
        ["http://b/1"],
        ["http://a:81/1"],
        ["https://a/1"],
        ["http://b/2"],
    ]
    assert [one.closed for one in made] == [True, True, True, False, False]


def test_what_is_in_use_is_not_closed_and_is_let_go_once_it_is_not(client: httpx.Client, made: list[Transport]) -> None:
    with client.stream("GET", "http://a/") as answer:
        for server in ("b", "c", "d"):
            client.get(f"http://{server}/")
        assert [one.closed for one in made] == [False, True, True, False]
        assert answer.read() == b"well"
    client.get("http://e/")
    client.get("http://a/")
    assert [one.closed for one in made] == [True, True, True, True, False, False]


def test_a_request_without_an_answer_leaves_its_pool_free(client: httpx.Client, made: list[Transport]) -> None:
    with pytest.raises(httpx.ReadError):
        client.get("http://a/lost")
    client.get("http://b/")
    client.get("http://c/")
    assert [one.closed for one in made] == [True, False, False]
    client.close()
    assert all(one.closed for one in made)
