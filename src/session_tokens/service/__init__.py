"""The HTTP service: sessions and tokens for programs in any language; ``app`` makes it, ``serve`` runs it."""
