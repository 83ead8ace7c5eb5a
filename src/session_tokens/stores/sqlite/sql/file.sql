-- What a file has once, whatever the number of name spaces in it.

CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value NOT NULL
) WITHOUT ROWID;

-- Of each pepper: HMAC of ``check`` under it, to recognise a wrong one when the file is opened; since when it is known,
-- and since when records may be under it.
CREATE TABLE peppers (
    key_id TEXT PRIMARY KEY NOT NULL,
    check_value TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    used_at INTEGER
) WITHOUT ROWID;

CREATE TABLE quarantine (
    at INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    key NOT NULL,
    reason TEXT NOT NULL,
    row_json TEXT NOT NULL
);
