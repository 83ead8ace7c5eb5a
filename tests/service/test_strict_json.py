"""JSON with one meaning: numbers, whatever the size of the body that they stand in."""

from __future__ import annotations

import json

import pytest

from session_tokens.service.strict_json import NotJSON, decode

ODD_NUMBERS = {
    "9223372036854775807": True, "9223372036854775808": False, "-9223372036854775808": True,
    "-9223372036854775809": False, "1e400": False, "1E400": False, "-0.1e999": False, "1.5e308": True,
    "9" * 400 + ".0": False, "0." + "3" * 400: True, "123456789012345678": True, "1.25": True,
}  # fmt: skip


@pytest.mark.parametrize("number", ODD_NUMBERS)
@pytest.mark.parametrize("beside", [0, 1000])
def test_a_number_out_of_range_is_found_in_small_and_large_bodies(number: str, beside: int) -> None:
    """Large ones are looked at as a whole before each number is."""
    body = ("[" + "7," * beside + number + "]").encode()
    if ODD_NUMBERS[number]:
        assert decode(body)[-1] == json.loads(number)
    else:
        with pytest.raises(NotJSON, match="beyond"):
            decode(body)


def test_more_objects_than_any_value_holds_are_not_read_one_by_one() -> None:
    most = "[" + ",".join(["{}"] * 5_460) + "]"

    assert len(decode(most.encode())) == 5_460
    with pytest.raises(NotJSON, match="more arrays and objects"):
        decode(("[" + ",".join(["{}"] * 20_000) + "]").encode())
