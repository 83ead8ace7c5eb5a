"""Serve one side of the HTTP benchmark with one worker; the first line printed says where."""

from __future__ import annotations

import sys


def main() -> None:
    """Serve what the first argument names, on the store that the second one names."""
    if sys.argv[1] == "session-tokens":
        from session_tokens.service.serve import serve

        serve(sys.argv[2], port=0)
        return
    import socket

    import uvicorn

    from benchmarks.peers.fastapi_introspection import application

    # With the protocol named, asyncio switches Nagle's algorithm off, as it does where uvicorn opens the port itself.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    # uvicorn chooses httptools and uvloop by itself where they are installed.
    config = uvicorn.Config(application(sys.argv[2]), access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
