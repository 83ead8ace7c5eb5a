"""What frameworks and the service share towards browsers."""
