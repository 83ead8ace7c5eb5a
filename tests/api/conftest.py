"""What the tests of the API share: the API, with the calls to the store counted."""

from tests.helpers.counted_api import st, store, url

__all__ = ["st", "store", "url"]
