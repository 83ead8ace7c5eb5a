"""Several processes that serve from the same sockets, and the one that starts and watches them."""
