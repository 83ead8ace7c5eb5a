"""What both twins of TokenTables share: how token strings are kept, and how a user's own DB is called."""
