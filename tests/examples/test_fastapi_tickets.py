"""The FastAPI shop sells tickets once, for the price that was shown, and the seller's code is dead."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.helpers.running_example import RunningSite, Visitor

pytestmark = pytest.mark.server

OFFER = re.compile(
    r"<b>(?P<concert>[^<]+)</b>, seat (?P<seat>\w+)\s+<small>sold by (?P<seller>[^<·]+?)\s*(?:·[^<]*)?</small>.*?"
    r'<span class="price">(?P<price>[^<]+)</span>(?:.*?/market/(?P<id>tok_\w+)/buy.*?value="[\d.]+")?',
    re.DOTALL,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunningSite]:
    with RunningSite("fastapi_tickets", tmp_path) as running:
        yield running


@contextmanager
def user(site: RunningSite, name: str) -> Iterator[Visitor]:
    with site.browser(f"{name}'s browser") as client:
        client.post("/log-in", data={"name": name, "password": name})
        yield client


def offers(client: httpx.Client) -> list[dict[str, str]]:
    items = client.get("/").text.split("<li>")[1:]
    return [found.groupdict() for item in items if (found := OFFER.search(item))]


def buy(client: httpx.Client, offer: dict[str, str]) -> str:
    return client.post(f"/market/{offer['id']}/buy", data={"price": offer["price"].split()[0]}).text


def code_of(client: httpx.Client, id: str) -> str:
    found = re.search(r'class="code">(stt_\w+)<', client.post(f"/tickets/{id}/code").text)
    assert found is not None
    return found[1]


def at_the_door(client: httpx.Client, code: str) -> str:
    return client.post("/gate", data={"code": code}).text


def test_a_resold_ticket_opens_the_door_to_its_buyer_alone(site: RunningSite) -> None:
    with user(site, "alice") as alice, user(site, "bob") as bob:
        first = offers(alice)[0]
        assert f"is yours for {first['price']}" in buy(alice, first)
        sold = code_of(alice, first["id"])
        assert "Offered for 19.90 EUR" in alice.post(f"/tickets/{first['id']}/offer", data={"price": "19.9"}).text

        (offer,) = [each for each in offers(bob) if each["seller"] == "alice"]
        assert offer["price"] == "19.90 EUR"
        assert "is yours for 19.90 EUR" in buy(bob, offer)

        assert "opens no door" in at_the_door(alice, sold)
        bought = code_of(bob, first["id"])
        assert "Come in" in at_the_door(bob, bought)
        assert "opens no door" in at_the_door(bob, bought)
        assert "You have none" in bob.get("/tickets").text


def test_a_price_that_has_changed_is_not_paid(site: RunningSite) -> None:
    with user(site, "alice") as alice, user(site, "bob") as bob:
        ticket = offers(alice)[0]
        buy(alice, ticket)
        alice.post(f"/tickets/{ticket['id']}/offer", data={"price": "10"})
        (shown,) = [each for each in offers(bob) if each["seller"] == "alice"]
        alice.post(f"/tickets/{ticket['id']}/withdraw")
        alice.post(f"/tickets/{ticket['id']}/offer", data={"price": "99"})

        assert "the price has changed" in buy(bob, shown)
        assert "You have none" in bob.get("/tickets").text


def test_what_is_not_offered_cannot_be_bought(site: RunningSite) -> None:
    with user(site, "alice") as alice, user(site, "bob") as bob:
        ticket = offers(alice)[0]
        buy(alice, ticket)
        for price in (ticket["price"], "0", "-1", "NaN", "Infinity", "free", "1e999999999", "9" * 400):
            assert "Somebody was quicker" in buy(bob, {**ticket, "price": price})
        for path in ("code", "withdraw"):
            assert "not yours" in bob.post(f"/tickets/{ticket['id']}/{path}").text
        assert "not yours" in bob.post(f"/tickets/{ticket['id']}/offer", data={"price": "1"}).text
        assert "Come in" in at_the_door(bob, code_of(alice, ticket["id"]))


def test_a_price_is_a_number(site: RunningSite) -> None:
    with user(site, "alice") as alice:
        ticket = offers(alice)[0]
        buy(alice, ticket)
        for price in ("", "free", "NaN", "sNaN", "-1", "1e9", "1e999999999", "Infinity", "9" * 400):
            answer = alice.post(f"/tickets/{ticket['id']}/offer", data={"price": price})
            assert answer.status_code in (200, 422) and "Offered for" not in answer.text, price
        assert [each for each in offers(alice) if each["seller"] == "alice"] == []


def test_of_many_buyers_one_gets_the_ticket(site: RunningSite) -> None:
    with ExitStack() as stack:
        buyers = [stack.enter_context(user(site, name)) for name in ("alice", "bob") * 4]
        ticket = offers(buyers[0])[0]
        begin, answers = threading.Barrier(len(buyers)), [""] * len(buyers)

        def rush(number: int) -> None:
            begin.wait()
            answers[number] = buy(buyers[number], ticket)

        threads = [threading.Thread(target=rush, args=(number,)) for number in range(len(buyers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    said = ("is yours for", "Somebody was quicker", "is yours already")  # the last to the winner's other browsers
    counts = [sum(words in answer for answer in answers) for words in said]
    assert (counts[0], sum(counts[1:])) == (1, 7)


def test_a_ticket_outlives_the_log_in(site: RunningSite) -> None:
    with user(site, "alice") as alice, site.browser("Door") as door:
        ticket = offers(alice)[0]
        buy(alice, ticket)
        code = code_of(alice, ticket["id"])
        alice.post("/log-out")
        assert alice.get("/tickets").url.path == "/log-in"
        assert "Come in" in at_the_door(door, code)


def test_devices_end_each_other(site: RunningSite) -> None:
    with user(site, "alice") as phone, user(site, "alice") as laptop, user(site, "bob") as other:
        page = laptop.get("/devices").text
        (path,) = re.findall(r'action="(/devices/ses_\w+/end)"', page)
        assert other.post(path).status_code == 404
        assert phone.get("/devices").url.path == "/devices"
        assert "is logged out" in laptop.post(path).text
        assert phone.get("/devices").url.path == "/log-in"
        assert other.get("/devices").url.path == "/devices"


def test_a_page_of_another_origin_sells_nothing(site: RunningSite) -> None:
    with user(site, "alice") as alice:
        ticket = offers(alice)[0]
        answer = alice.post(
            f"/market/{ticket['id']}/buy",
            data={"price": ticket["price"].split()[0]},
            headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        )
        assert answer.status_code == 403
        assert "You have none" in alice.get("/tickets").text


def test_the_box_office_opens_once(tmp_path: Path) -> None:
    for _ in range(2):
        with RunningSite("fastapi_tickets", tmp_path) as site, site.browser("Visitor") as visitor:
            assert len(offers(visitor)) == 6


def test_it_runs_on_servers(tmp_path: Path, server_store: dict[str, str]) -> None:
    with (
        RunningSite("fastapi_tickets", tmp_path, server_store) as site,
        user(site, "alice") as alice,
        user(site, "bob") as bob,
    ):
        ticket = offers(alice)[0]
        buy(alice, ticket)
        sold = code_of(alice, ticket["id"])
        alice.post(f"/tickets/{ticket['id']}/offer", data={"price": "5"})
        buy(bob, next(each for each in offers(bob) if each["seller"] == "alice"))
        assert "opens no door" in at_the_door(alice, sold)
        assert "Come in" in at_the_door(bob, code_of(bob, ticket["id"]))
