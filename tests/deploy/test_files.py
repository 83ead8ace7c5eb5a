"""The files for deployment pass their public linters, and say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.helpers.running_service import RunningService

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.mark.process
def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    checked = run(PROGRAMS / "hadolint", "deploy/docker/Dockerfile")

    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.process
def test_the_compose_file_is_one() -> None:
    checked = run(
        PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/docker/compose.yaml"
    )

    assert checked.returncode == 0, checked.stdout


@pytest.mark.process
def test_the_linters_find_what_is_wrong(tmp_path: Path) -> None:
    """A linter that passes everything would prove nothing."""
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && pip install x\n")
    (tmp_path / "compose.yaml").write_text("services: {a: {imge: x}}\n")

    assert run(PROGRAMS / "hadolint", tmp_path / "Dockerfile").returncode != 0
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert run(PROGRAMS / "check-jsonschema", *schema, tmp_path / "compose.yaml").returncode != 0


@pytest.mark.needs_systemd
@pytest.mark.process
def test_the_unit_verifies_and_is_hardened(tmp_path: Path) -> None:
    unit = (ROOT / "deploy/systemd/session-tokens.service").read_text()
    (tmp_path / "session-tokens.socket").write_text((ROOT / "deploy/systemd/session-tokens.socket").read_text())
    here = tmp_path / "session-tokens.service"
    here.write_text(unit.replace("/opt/session-tokens/bin/session-tokens", str(PROGRAMS / "session-tokens")))

    verified = run("systemd-analyze", "verify", here, tmp_path / "session-tokens.socket")
    secured = run("systemd-analyze", "security", "--offline=true", "--threshold=20", here)

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert secured.returncode == 0, secured.stdout


def test_nothing_in_the_container_runs_as_root() -> None:
    lines = (ROOT / "deploy/docker/Dockerfile").read_text().splitlines()
    user_at = next(at for at, line in enumerate(lines) if line.startswith("USER "))

    assert lines[user_at] == "USER 10001:10001"
    assert all(not line.startswith("USER ") for line in lines[user_at + 1 :])


@pytest.mark.server
def test_the_counters_are_read_as_the_lines_for_prometheus_say(tmp_path: Path) -> None:
    """Its package is too large to ask for: the request that the lines lead to is sent instead."""
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    told = dict(re.findall(r"^ +(?:- )?([a-z_]+): (\S+)$", text, re.MULTILINE))
    service = RunningService("memory://", tmp_path / "log")
    with service.http() as http:
        role = re.search(r"keys create --role (\w+)", text)
        assert role is not None
        secret = http.post("/v1/keys", json={"role": role[1]}).json()["secret"]
    url = f"{told['scheme']}://127.0.0.1:{service.port}{told['metrics_path']}"
    answers = [httpx.get(url, headers={"Authorization": f"{told['type']} {shown}"}) for shown in (secret, "stk_x")]
    service.stop()

    assert told["credentials_file"].startswith("/etc/prometheus/")
    assert [answer.status_code for answer in answers] == [200, 401]
    assert "session_tokens_http_requests_total" in answers[0].text
