"""The console in a real browser: what an operator does there, and that everyone can use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.helpers.effort import PROVING
from tests.helpers.running_service import RunningService
from tests.helpers.servers.chromium import SIZES, chromium, faults_of, press

pytestmark = pytest.mark.needs_chromium


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("console")
    running = RunningService(f"sqlite:///{folder / 'store.db'}", folder / "log")
    with running.http() as http:
        for owner in ("alice", "bob", "<script>alert(1)</script>"):
            session = http.post("/v1/sessions", json={"owner": owner, "detachable": True}).json()["session"]["id"]
            token = {"session": session, "value": {"seat": 12}, "transferable": True}
            issued = http.post("/v1/tokens", json=token).json()["token"]["id"]
            http.post(f"/v1/tokens/{issued}/offer", json={"price": "12.50", "currency": "EUR"})
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(service: RunningService, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in which the admin key entered; whatever the browser complains of fails the test."""
    look: tuple[str, Literal["light", "dark"]] = getattr(request, "param", ("desktop", "light"))
    size, scheme = look
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=service.url
    )
    made = context.new_page()
    complaints: list[str] = []
    answers: list[int] = []
    made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    made.on("response", lambda response: answers.append(response.status) if response.status >= 500 else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.goto("/console")
    made.get_by_label("Secret of the service key").fill(service.secret)
    press(made.get_by_role("button", name="Enter"))
    expect(made.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    yield made
    context.close()
    assert [complaint for complaint in complaints if "404" not in complaint] == []  # a page that is gone says so
    assert answers == []


LOOKS = [("desktop", "light"), ("desktop", "dark"), ("phone", "light"), ("phone", "dark")]
SOME_LOOKS = [("desktop", "light"), ("phone", "dark")]
"""Each size and each scheme; all pairs of them where everything is proven."""


@pytest.mark.share(2)
@pytest.mark.parametrize("page", LOOKS if PROVING else SOME_LOOKS, indirect=True, ids="-".join)
def test_everyone_can_use_every_page(page: Page, tmp_path: Path) -> None:
    """No violation that axe knows of, nothing wider than the screen, and the page is not blank."""
    session = page.goto("/console/sessions") and page.locator("a.id").first.get_attribute("href")
    token = page.goto("/console/tokens") and page.locator("a.id").first.get_attribute("href")
    for path in (
        "/console", "/console/sessions", "/console/tokens", "/console/unassigned", "/console/audit", "/console/keys",
        "/console/owners", "/console/owners/alice", "/console/find?q=a", f"{session}?data=shown",
        f"{token}?value=shown", f"/console/explain?id={str(session).rpartition('/')[2]}",
    ):  # fmt: skip
        page.goto(path)
        assert faults_of(page) == [], path
        assert len(page.screenshot(path=tmp_path / "page.png")) > 5_000


def test_the_entrance_can_be_used_by_everyone(service: RunningService, browser: Browser) -> None:
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    page.goto("/console")
    found = faults_of(page)
    page.get_by_label("Secret of the service key").fill("stk_wrong")
    page.keyboard.press("Enter")

    assert found == []
    expect(page.get_by_role("alert")).to_contain_text("no living key")
    context.close()


def test_an_operator_finds_an_owner_and_ends_a_session(page: Page, service: RunningService) -> None:
    page.keyboard.press("/")
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Owner bob")).to_be_visible()
    press(page.locator("a.id").first)
    press(page.get_by_role("button", name="Detach"))
    expect(page.get_by_role("status")).to_contain_text("Detached the session")
    press(page.get_by_role("button", name="Attach"))
    press(page.get_by_role("button", name="End this session"))
    expect(page.get_by_role("status")).to_contain_text("Ended the session ses_")
    expect(page.get_by_text("Nothing lives under that id.")).to_be_visible()
    page.goto("/console/unassigned")

    expect(page.get_by_text("unassigned", exact=True).first).to_be_visible()
    with service.http() as http:
        assert http.get("/v1/sessions", params={"owner": "bob"}).json()["sessions"] == []
    page.goto("/console/sessions")  # what was answered with 404 was asked for


def test_charts_are_drawn_and_the_overview_renews_itself(page: Page) -> None:
    expect(page.locator(".chart canvas").first).to_be_visible()
    with page.expect_response("**/console/overview", timeout=15_000) as renewed:
        pass

    assert renewed.value.status == 200
    expect(page.locator(".chart canvas").first).to_be_visible()


def test_the_theme_is_kept(page: Page) -> None:
    page.get_by_role("button", name="Theme").click()
    page.reload()

    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_hostile_owners_run_nothing(page: Page) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    page.goto("/console/sessions")

    expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()


@pytest.mark.parametrize("owner", [".", ".."])
def test_a_browser_reaches_owners_that_it_would_take_out_of_a_path(
    page: Page, service: RunningService, owner: str
) -> None:
    with service.http() as http:
        http.post("/v1/sessions", json={"owner": owner}).raise_for_status()
    page.goto("/console/sessions")
    press(page.get_by_role("link", name=owner, exact=True).first)
    expect(page.get_by_role("heading", name=f"Owner {owner}", exact=True)).to_be_visible()
    page.get_by_label("Type the owner to end all their sessions").fill(owner)
    press(page.get_by_role("button", name="End all sessions"))

    expect(page.get_by_role("status")).to_contain_text(f"Ended 1 session of {owner}.")
    expect(page.get_by_text("No living session.")).to_be_visible()


def test_an_operator_ends_those_ticked_and_is_told_how_many(page: Page, service: RunningService) -> None:
    with service.http() as http:
        for number in range(3):
            http.post("/v1/sessions", json={"owner": "stolen phone", "label": f"{number}"}).raise_for_status()
    page.goto("/console/sessions?q=stolen")
    page.get_by_label("All on this page").check()
    press(page.get_by_role("button", name="End those ticked"))
    assert faults_of(page) == []
    page.get_by_label("Type 3 to end 3 sessions").fill("3")
    press(page.get_by_role("button", name="End 3 sessions"))

    expect(page.get_by_role("status")).to_have_text("Ended 3 sessions.")
    with service.http() as http:
        assert http.get("/v1/sessions", params={"owner": "stolen phone"}).json()["sessions"] == []


def test_an_owner_is_disabled_and_enabled(page: Page, service: RunningService) -> None:
    with service.http() as http:
        http.post("/v1/sessions", json={"owner": "mallory"}).raise_for_status()
    page.goto("/console/owners/mallory")
    page.get_by_label("Type the owner to disable them").fill("mallory")
    press(page.get_by_role("button", name="Disable"))
    expect(page.get_by_role("status")).to_contain_text("Disabled mallory")
    expect(page.get_by_role("button", name="Disable")).to_have_count(0)
    press(page.get_by_role("button", name="Enable again"))

    expect(page.get_by_role("status")).to_contain_text("Enabled mallory")
    page.goto("/console/sessions")  # they have no session: what was answered with 404 was asked for


def test_keys_and_times_and_copying(page: Page, service: RunningService) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    with page.expect_navigation():
        page.keyboard.press("s")
    times = page.get_by_label("How times are written")
    written = page.locator("td time").first
    times.select_option("utc")
    expect(written).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    times.select_option("local")
    expect(written).to_have_text(re.compile(r" UTC[+−]\d\d:\d\d$"))  # as it is written
    button = page.get_by_role("button", name="Copy ses_").first
    button.click()
    expect(page.get_by_text("Copied").first).to_be_visible()

    assert page.evaluate("navigator.clipboard.readText()") == button.get_attribute("data-copy")
    page.reload()
    expect(page.get_by_label("How times are written")).to_have_value("local")


def test_a_key_is_heard_at_once_when_the_help_is_closed(page: Page) -> None:
    """The browser takes the focus out of a closed dialog with its next picture only; keys may come before that."""
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    with page.expect_navigation():
        has_focus_still = page.evaluate("""() => {
            const dialog = document.getElementById("keys");
            dialog.close();
            const focused = document.activeElement;
            focused.dispatchEvent(new KeyboardEvent("keydown", { key: "s", bubbles: true }));
            return dialog.contains(focused);
        }""")

    assert has_focus_still
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


def test_rows_are_cards_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/console/sessions")
    cell = page.locator("td[data-label=Owner]").first
    before = cell.evaluate("cell => getComputedStyle(cell, '::before').content")

    assert before == '"Owner"'
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for role in ("table", "row", "cell", "columnheader"):  # to those who hear it, it is a table still
        assert page.get_by_role(role).count() > 0, role


def test_a_deep_link_survives_the_log_in(service: RunningService, browser: Browser) -> None:
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    page.goto("/console/sessions?q=alice&sort=oldest")
    page.get_by_label("Secret of the service key").fill(service.secret)
    press(page.get_by_role("button", name="Enter"))

    expect(page).to_have_url(f"{service.url}/console/sessions?q=alice&sort=oldest")
    context.close()


def test_a_key_is_revoked_and_who_entered_with_it_is_out(page: Page, service: RunningService, browser: Browser) -> None:
    """Also in a window that nobody touches: it renews itself."""
    with service.http() as http:
        made = http.post("/v1/keys", json={"role": "operator", "label": "the night shift"}).json()
    context = browser.new_context(base_url=service.url)
    other = context.new_page()
    other.goto("/console")
    other.get_by_label("Secret of the service key").fill(made["secret"])
    press(other.get_by_role("button", name="Enter"))
    page.goto("/console/keys")
    press(page.get_by_role("row").filter(has_text="the night shift").get_by_role("button", name="Revoke"))
    assert faults_of(page) == []
    expect(page.get_by_text("the night shift")).to_be_visible()
    press(page.get_by_role("button", name="Revoke this key"))

    expect(page.get_by_role("status")).to_contain_text(f"Revoked the key {made['id']}")
    expect(other.get_by_label("Secret of the service key")).to_be_visible(timeout=30_000)
    context.close()


def test_a_list_of_owners_goes_both_ways(page: Page, service: RunningService) -> None:
    with service.http() as http:
        for number in range(60):
            http.post("/v1/sessions", json={"owner": f"way {number}"}).raise_for_status()
    page.goto("/console/owners?q=way")
    expect(page.get_by_role("link", name="way 59", exact=True)).to_be_visible()
    with page.expect_navigation():
        page.keyboard.press("n")
    expect(page.get_by_role("link", name="way 0", exact=True)).to_be_visible()
    with page.expect_navigation():
        page.keyboard.press("p")
    expect(page.get_by_role("link", name="way 59", exact=True)).to_be_visible()


def test_leaving_ends_it(page: Page) -> None:
    press(page.get_by_role("button", name="Leave"))

    expect(page.get_by_label("Secret of the service key")).to_be_visible()
