"""What is counted is what the page names; the dashboard, the alerts and the lines for Prometheus are tried with it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.project import ROOT
from tests.helpers.running_service import RunningService
from tests.helpers.servers.prometheus import Prometheus
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.needs_prometheus]

PAGE = (ROOT / "docs/reference/metrics.md").read_text()
CONFIGURATION = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
RULES = ROOT / "deploy/prometheus/alert-rules.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
SETTING = {"value": 77}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that has counted something under each name, and is asked once more for each question."""
    service = RunningService("memory://", tmp_path_factory.mktemp("metrics") / "log")
    yield service
    service.stop()


def use(service: RunningService) -> None:
    """Do what is counted: in the API, in the console, and a request that is refused."""
    with service.http() as http:
        opened = http.post("/v1/sessions", json={"owner": "ann"}).json()
        http.post("/introspect", data={"token": opened["secret"]})
        http.delete(f"/v1/sessions/{opened['session']['id']}")
        http.put("/v1/settings/max_tokens_per_session", json=SETTING)
    httpx.get(f"{service.url}/v1/sessions")
    httpx.post(f"{service.url}/console/enter", data={"secret": "stk_x"}, headers={"Origin": service.url})


def scraped(service: RunningService) -> str:
    with service.http() as http:
        return http.get("/metrics").text


def promtool(*words: str | Path, given: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, words)], input=given, capture_output=True, text=True, timeout=60, cwd=folder
    )


def expressions_of_rules(text: str) -> list[str]:
    found = re.findall(r"^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text, re.MULTILINE)
    return [" ".join((folded or plain).split()) for folded, plain in found]


def expressions_of_dashboard() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def counted_in(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return the names in what was scraped, with type and labels."""
    counted = {
        name: kind for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
        if not name.endswith("_created")
    }  # fmt: skip
    labels: dict[str, set[str]] = {name: set() for name in counted}
    for name, given in re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?\{(.*)\} ", text, re.MULTILINE):
        if name in labels:
            labels[name] |= set(re.findall(r"(\w+)=", given)) - {"le"}
    return {name: (kind, labels[name]) for name, kind in counted.items()}


def test_the_page_names_every_metric_with_its_type_and_labels(
    service: RunningService, valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(service)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", bytes(range(32)).hex())
    near = RunningService(valkey_url, tmp_path / "log", near_cache=1)
    try:
        with near.http() as http:
            secret = http.post("/v1/sessions", json={"owner": "ann"}).json()["secret"]
            for _ in range(3):
                assert http.post("/v1/verify", json={"secret": secret}).status_code == 200
        counted = counted_in(scraped(near)) | counted_in(scraped(service))
        of_near = re.findall(
            r"^session_tokens_near_cache_verifications_total\{.*\} ([0-9.]+)$", scraped(near), re.MULTILINE
        )
    finally:
        near.stop()
    told = {
        name: (kind, set(re.findall(r"`(\w+)`", named)))
        for name, kind, named in re.findall(r"^\| `(session_tokens_\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    }

    assert counted == told
    assert sum(map(float, of_near)) >= 3


def test_promtool_has_nothing_to_say_of_what_is_counted(service: RunningService) -> None:
    checked = promtool("check", "metrics", given=scraped(service))
    wrong = promtool("check", "metrics", given="# TYPE requests counter\nrequests 1\n")

    assert (0, "") == (checked.returncode, checked.stdout + checked.stderr)
    assert wrong.returncode != 0, "a linter that passes everything would prove nothing"


def test_what_a_setting_is_set_to_is_no_label(service: RunningService) -> None:
    use(service)

    assert re.findall(r'session_tokens_events_total\{kind="setting_changed",reason="(\w+)"', scraped(service)) == [
        "set"
    ]


def test_what_alerts_ask_for_is_counted_before_it_happens(service: RunningService) -> None:
    text = scraped(service)

    assert 'session_tokens_events_total{kind="session_ended",reason="theft"} 0.0' in text
    assert 'session_tokens_http_problems_total{code="internal_error"} 0.0' in text
    for metric, label, value in re.findall(
        r"(session_tokens_\w+)\{(?:kind=\"\w+\", )?(\w+)=\"(\w+)\"", RULES.read_text()
    ):
        assert re.search(rf'^{metric}\{{.*{label}="{value}"', text, re.MULTILINE) or label == "route", (metric, value)


def test_the_rules_pass_their_own_tests(tmp_path: Path) -> None:
    for name in ("alert-rules.yml", "alert-rules-test.yml"):
        (tmp_path / name).write_text((RULES.parent / name).read_text())
    checked = promtool("check", "rules", "alert-rules.yml", folder=tmp_path)
    tried = promtool("test", "rules", "alert-rules-test.yml", folder=tmp_path)
    (tmp_path / "alert-rules.yml").write_text(RULES.read_text().replace("== 0", "== 1"))
    wrong = promtool("test", "rules", "alert-rules-test.yml", folder=tmp_path)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert wrong.returncode != 0


def test_each_alert_is_on_the_page_and_tried() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())

    assert alerts and set(alerts) == set(re.findall(r"^\| `(SessionTokens\w+)` \|", PAGE, re.MULTILINE))
    assert set(alerts) == set(re.findall(r"SessionTokens\w+", (RULES.parent / "alert-rules-test.yml").read_text()))


def test_the_page_shows_the_lines_for_prometheus() -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    assert CONFIGURATION.endswith(shown)


def test_a_real_prometheus_reads_it_and_answers_every_question(service: RunningService, tmp_path: Path) -> None:
    """The lines, with another address, key file and pace; each panel and each alert finds something to reckon with."""
    use(service)
    with service.http() as http:
        role = re.search(r"keys create --role (\w+)", CONFIGURATION)
        assert role is not None
        (tmp_path / "key").write_text(http.post("/v1/keys", json={"role": role[1]}).json()["secret"])
    (tmp_path / "session-tokens-alerts.yml").write_text(RULES.read_text())
    configuration = tmp_path / "prometheus.yml"
    text = CONFIGURATION.replace("/etc/prometheus/session-tokens.key", str(tmp_path / "key"))
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{service.port}")
    configuration.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n{text}")
    checked = promtool("check", "config", configuration)
    prometheus = Prometheus(configuration, tmp_path)
    questions = [
        expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
        for expression in expressions_of_dashboard()
    ]
    questions += [re.sub(r" (>|==) [0-9.]+$", "", expression) for expression in expressions_of_rules(RULES.read_text())]
    try:
        wait_until(lambda: prometheus.query('up{job="session-tokens"} == 1'))
        unanswered = list(questions)

        def all_are_answered() -> bool:
            use(service)
            unanswered[:] = [question for question in unanswered if not prometheus.query(question)]
            return not unanswered

        wait_until(all_are_answered)
        rules = prometheus.get("rules")["groups"][0]["rules"]
        (label,) = (each for each in DASHBOARD["templating"]["list"] if each["type"] == "query")
        instances = prometheus.query(f"count by (instance) ({named_in(label)})")
    finally:
        prometheus.stop()

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(questions) >= 25
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert [f"127.0.0.1:{service.port}"] == [each["metric"]["instance"] for each in instances]


def named_in(variable: dict[str, Any]) -> str:
    """Return the metric whose labels a variable of the dashboard lists."""
    found = re.fullmatch(r"label_values\((\w+), instance\)", variable["query"]["query"])
    assert found is not None
    return found[1]
