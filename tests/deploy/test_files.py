"""The files for deployment pass their public linters, and say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "deploy" / "systemd"
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


def unit_in(folder: Path, *, drop_in: str = "") -> Path:
    """Copy the unit, its socket and what may stand beside it; the program is the one of this environment."""
    unit = (SYSTEMD / "session-tokens.service").read_text()
    (folder / "session-tokens.socket").write_text((SYSTEMD / "session-tokens.socket").read_text())
    here = folder / "session-tokens.service"
    here.write_text(unit.replace("/opt/session-tokens/bin/session-tokens", str(PROGRAMS / "session-tokens")))
    if drop_in:
        (folder / "session-tokens.service.d").mkdir()
        (folder / "session-tokens.service.d" / "store-on-a-server.conf").write_text(drop_in)
    return here


@pytest.mark.needs_systemd
@pytest.mark.process
@pytest.mark.parametrize("on_a_server", [False, True])
def test_the_unit_verifies_and_is_hardened(tmp_path: Path, on_a_server: bool) -> None:
    drop_in = (SYSTEMD / "store-on-a-server.conf").read_text() if on_a_server else ""
    here = unit_in(tmp_path, drop_in=drop_in)

    verified = run("systemd-analyze", "verify", here, tmp_path / "session-tokens.socket")
    secured = run("systemd-analyze", "security", "--offline=true", "--threshold=20", here)

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert secured.returncode == 0, secured.stdout


@pytest.mark.needs_systemd
@pytest.mark.process
def test_a_mistake_in_a_unit_or_beside_it_is_found(tmp_path: Path) -> None:
    here = unit_in(tmp_path, drop_in="[Service]\nLoadCredentials=pepper:/etc/session-tokens/pepper\n")

    assert "LoadCredentials" in run("systemd-analyze", "verify", here).stderr


@pytest.mark.needs_systemd
@pytest.mark.process
def test_the_user_of_the_unit_is_the_one_that_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "session-tokens.sysusers.conf")
    users = (tmp_path / "etc" / "passwd").read_text()

    assert made.returncode == 0, made.stderr
    assert re.findall(r"^User=(.*)$", (SYSTEMD / "session-tokens.service").read_text(), re.MULTILINE) == re.findall(
        r"^(session-tokens):.*:/var/lib/session-tokens:", users, re.MULTILINE
    )


def test_nothing_in_the_container_runs_as_root() -> None:
    lines = (ROOT / "deploy/docker/Dockerfile").read_text().splitlines()
    user_at = next(at for at, line in enumerate(lines) if line.startswith("USER "))

    assert lines[user_at] == "USER 10001:10001"
    assert all(not line.startswith("USER ") for line in lines[user_at + 1 :])
