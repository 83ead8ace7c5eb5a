-- What a file has once, whatever the number of name spaces in it.

CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value NOT NULL
) WITHOUT ROWID;

CREATE TABLE quarantine (
    at INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    row_json TEXT NOT NULL
);
