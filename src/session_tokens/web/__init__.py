"""Sessions in web frameworks, and what every reader of a browser's requests needs."""
