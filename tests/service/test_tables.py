"""`POST /v1/tables/{call}`: the seed's names for programs in any language, on a service of its own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_tokens import AsyncTokenTables, InvalidInput, TokenTables
from session_tokens.service.table_routes import CALLS, Tables
from tests.helpers.running_service import RunningService
from tests.helpers.service_world import World

pytestmark = pytest.mark.process
LOCAL = {
    "close", "discard_quick_insert", "open", "quick_insert_active_session", "set_token_creator", "shutdown", "sweep",
}  # fmt: skip
"""Names that concern one process alone, and what is no name of the seed's."""


class Caller:
    """Calls names of TokenTables over HTTP."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def __call__(self, name: str, *arguments: object) -> Any:
        answer = self.http.post(f"/v1/tables/{name}", json={"arguments": arguments})
        assert answer.status_code == 200, answer.text
        return answer.json()["answer"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("tables")
    running = RunningService(f"sqlite:///{folder}/t.db", folder / "log")
    yield running
    running.stop()


@pytest.fixture
def call(service: RunningService) -> Iterator[Caller]:
    with service.http() as http:
        yield Caller(http)


def test_every_name_of_the_seed_is_served_but_those_of_one_process() -> None:
    names = {name for name in dir(AsyncTokenTables) if not name.startswith("_")}
    methods = {name for name in names if callable(getattr(AsyncTokenTables, name))}

    assert methods - LOCAL == CALLS


def test_a_session_lives_and_its_tokens_end_with_it(call: Caller) -> None:
    hash_of = call("add_session", "s1", "alice", "t1", True)

    assert isinstance(hash_of, str)
    assert call("active_session", "s1", "alice") is True
    assert call("active_session", "s1", "bob") is False
    assert call("active_session", "unknown", "bob") is None
    assert call("add_session_bounded_token", "t2", {"a": 1}, "alice") is True
    assert call("transition_token_is_active", "t2") == '{"a":1}'
    assert sorted(call("tokens_from_session", "s1")) == ["t1", "t2"]
    assert call("destroy_session", "t1") is True
    assert call("transition_token_is_active", "t2") is None


def test_times_without_end_are_a_word_and_prices_are_texts(call: Caller) -> None:
    call("add_session", "s3", "carol")
    call("add_transferable_token", "t3", "v", "carol")
    call("set_session_timeout", "s3", None)
    call("set_token_sellable", "t3", "-2.50")

    assert call("get_session_timeout", "s3") == "never"
    assert call("get_session_time_left", "nobody's") is None
    assert call("map_sellable_tokens") == {"t3": "-2.50"}
    assert call("set_general_session_timeout", {"from_db": True}) is True


def test_a_general_session_timeout_outlives_the_process_that_was_asked(tmp_path: Path) -> None:
    url, secret = f"sqlite:///{tmp_path}/t.db", ""
    for change, expected in (([5_000], 5_000), (None, 5_000), ([None], "never"), (None, "never")):
        running = RunningService(url, tmp_path / "log", secret)
        secret = running.secret
        with running.http() as http:
            call = Caller(http)
            if change is not None:
                assert call("set_general_session_timeout", *change) is True
            call("add_session", "s1", "alice")
            found = call("get_session_timeout", "s1")
            call("destroy_session", "s1")
        running.stop()

        assert found == expected


async def test_of_several_workers_none_alone_has_a_general_timeout(tmp_path: Path) -> None:
    async with (
        aclosing(Tables(f"sqlite:///{tmp_path}/t.db", bytes(32), 2)) as one,
        aclosing(Tables(f"sqlite:///{tmp_path}/t.db", bytes(32), 2)) as other,
    ):
        assert await (await one()).set_general_session_timeout(5_000)
        await (await other()).add_session("s1", "alice")

        assert await (await one()).get_session_timeout("s1") == 5_000
        with pytest.raises(InvalidInput, match="2 workers"):
            await (await one()).set_general_token_timeout(5_000)


def test_the_same_tables_are_there_for_python(call: Caller, service: RunningService) -> None:
    call("add_session", "s4", "dora")
    with TokenTables.open(service.store_url, sweep=False) as tables:
        assert tables.active_session("s4", "dora") is True
    path = Path(service.store_url.removeprefix("sqlite:///"))
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("shutdown", [], 404),
        ("__init__", [], 404),
        ("nothing", [], 404),
        ("add_session", ["only one"], 422),
        ("add_session", [1, 2], 422),
        ("set_session_timeout", ["s1", -1], 422),
    ],
)
def test_what_can_never_be_right_is_refused_and_named(
    call: Caller, name: str, arguments: list[object], status: int
) -> None:
    answer = call.http.post(f"/v1/tables/{name}", json={"arguments": arguments})

    assert (status, "application/problem+json") == (answer.status_code, answer.headers["content-type"])


def test_an_idempotency_key_is_refused_and_says_why(call: Caller) -> None:
    answer = call.http.post("/v1/tables/add_token", json={"arguments": ["t", 1]}, headers={"Idempotency-Key": "k"})

    assert (422, "invalid_input") == (answer.status_code, answer.json()["code"])


async def test_an_application_that_serves_no_tables_says_so(world: World) -> None:
    answer = await world.ask("POST", "/v1/tables/add_token", json={"arguments": ["t", 1]})

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


async def test_only_an_admin_key_calls_tables(world: World) -> None:
    answers = [
        (await world.ask("POST", "/v1/tables/add_token", role=role, json={"arguments": []})).status_code
        for role in ("verify", "issue", "transfer", "revoke", "audit", "operator")
    ]

    assert [403] * 6 == answers
