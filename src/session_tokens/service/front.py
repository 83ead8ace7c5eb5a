"""The page at `/`: what a browser finds that was pointed at the service."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>session-tokens</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto; padding: 0 1rem }}
</style>
</head>
<body>
<h1>session-tokens</h1>
<p>This is a service for programs: it opens, checks and ends sessions and the tokens that live under them.
Programs ask it with a service key.</p>
<ul>
{links}
</ul>
</body>
</html>
"""
CONSOLE = '<li><a href="/console">Console</a>: see and end what lives, with a service key</li>'
LINKS = (
    '<li><a href="/docs">What it answers</a>: every request, for people</li>',
    '<li><a href="/openapi.json">OpenAPI</a>: the same for programs</li>',
    '<li><a href="/readyz">Whether it is ready</a></li>',
)


def front_page(*, has_console: bool) -> bytes:
    """Return the page, with a way to the console where that is on the same listener."""
    return PAGE.format(links="\n".join((CONSOLE, *LINKS) if has_console else LINKS)).encode()
