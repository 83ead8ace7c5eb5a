"""Where the console is: beside the service on this machine alone, else on a listener of its own or nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from session_tokens import InvalidInput
from session_tokens.service.serve import serve
from tests.helpers.running_service import RunningService

pytestmark = pytest.mark.server


@contextmanager
def running_with(folder: Path, **options: object) -> Iterator[tuple[RunningService, str | None]]:
    """Yield a service and where its console listens, if that has a listener of its own."""
    service = RunningService("memory://", folder / "log", "", **options)
    found = re.search(r"console on (\S+)/console", "".join(service.announced))
    try:
        yield service, found and found[1]
    finally:
        service.stop()


def test_on_this_machine_alone_the_console_is_beside_the_service(tmp_path: Path) -> None:
    with running_with(tmp_path) as (service, console):
        assert console is None
        assert httpx.get(service.url + "/console").status_code == 200


@pytest.mark.parametrize("options", [{"behind_proxy": True}, {"behind_proxy": True, "host": "0.0.0.0"}])
def test_where_others_reach_the_service_the_console_is_off(tmp_path: Path, options: dict[str, object]) -> None:
    with running_with(tmp_path, **options) as (service, console):
        there = httpx.get(f"http://127.0.0.1:{service.port}/console")
        said = "".join(service.announced)

    assert console is None
    assert there.status_code == 404
    assert "--console-port" in said


@pytest.mark.parametrize("options", [{}, {"behind_proxy": True}])
def test_a_listener_of_its_own_has_the_console_and_the_metrics_and_nothing_else(
    tmp_path: Path, options: dict[str, object]
) -> None:
    with running_with(tmp_path, console_port=0, **options) as (service, console):
        assert console is not None and console.startswith("http://127.0.0.1:") and console != service.url
        bearer = {"Authorization": f"Bearer {service.secret}"}
        with httpx.Client(base_url=console, headers=bearer) as http:
            at_console = {path: http.get(path).status_code for path in PATHS}
            entered = http.post("/console/enter", data={"secret": service.secret})
        with httpx.Client(base_url=service.url, headers=bearer) as http:
            at_service = {path: http.get(path).status_code for path in PATHS}

    assert at_console == {"/console": 200, "/metrics": 200, "/livez": 200, "/v1/sessions": 404, "/docs": 404}
    assert at_service == {"/console": 404, "/metrics": 200, "/livez": 200, "/v1/sessions": 200, "/docs": 200}
    assert entered.status_code == 303


PATHS = ("/console", "/metrics", "/livez", "/v1/sessions", "/docs")


@pytest.mark.parametrize(
    "options",
    [
        {"console_port": 65_536},
        {"console_port": True},
        {"port": 8080, "console_port": 8080},
        {"console_port": 0, "console_host": "0.0.0.0"},
        {"console_host": "::1"},
    ],
)
def test_listeners_that_can_never_be_right_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"port|--behind-proxy"):
        serve("memory://", **options)  # type: ignore[arg-type]


def test_a_console_port_that_is_taken_ends_the_service(tmp_path: Path) -> None:
    with running_with(tmp_path) as (service, _), pytest.raises(OSError, match="is in use"):
        serve("memory://", port=0, console_port=service.port)


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [("https://tokens.example", "max-age=31536000; includeSubDomains"), ("http://tokens.example", None), (None, None)],
)
def test_browsers_are_told_to_stay_with_https_behind_a_proxy_too(
    tmp_path: Path, public_url: str | None, expected: str | None
) -> None:
    with running_with(tmp_path, behind_proxy=True, console_port=0, public_url=public_url) as (service, console):
        pages = [f"{console}/console", f"{console}/console/nowhere", f"{service.url}/docs"]
        told = {httpx.get(page).headers.get("strict-transport-security") for page in pages}

    assert told == {expected}
