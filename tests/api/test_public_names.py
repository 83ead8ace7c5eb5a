"""Whatever a caller may have to catch or name is imported from `session_tokens` itself."""

import inspect

import session_tokens
from session_tokens import errors


def test_every_error_class_is_imported_from_the_package() -> None:
    public = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}

    for kind in public:
        assert getattr(session_tokens, kind.__name__) is kind
    assert {kind.__name__ for kind in public} <= set(session_tokens.__all__)


def test_every_public_name_is_there_and_known_to_dir() -> None:
    assert len(set(session_tokens.__all__)) == len(session_tokens.__all__)
    for name in session_tokens.__all__:
        assert getattr(session_tokens, name) is not None
        assert name in dir(session_tokens)
    assert set(session_tokens.__all__) == set(session_tokens._HOMES)
