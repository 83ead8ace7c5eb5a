"""Other projects' own tests, with our sessions in the place of theirs."""
