"""The synchronous API is what its generator makes of the asynchronous one today."""

from pathlib import Path

import pytest

from tests.helpers.project import ROOT, copy_of_source, run_in

CHECK = ("tools/generate_sync.py", "--check")
ASYNC_API = Path("src/session_tokens/_async/api.py")


@pytest.mark.proof
@pytest.mark.process
def test_the_generated_twin_is_up_to_date() -> None:
    result = run_in(ROOT, *CHECK)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.process
def test_a_twin_that_lags_behind_is_found(tmp_path: Path) -> None:
    source = copy_of_source(tmp_path) / ASYNC_API
    source.write_text(f"{source.read_text()}\n\ndef added_after_the_twin_was_made() -> None:\n    return None\n")

    result = run_in(tmp_path, *CHECK)

    assert result.returncode != 0


def test_the_generated_file_says_so_in_its_first_line() -> None:
    first_line = (ROOT / "src/session_tokens/_sync/api.py").read_text().splitlines()[0].lower()

    assert "generated" in first_line
