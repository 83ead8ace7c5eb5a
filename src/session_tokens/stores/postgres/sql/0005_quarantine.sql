-- What a check set aside: rows that nobody with the pepper wrote, and rows that lead nowhere, as they were.
--
-- {schema} is the name space. Nothing of ours reads it; whoever looked at it may delete from it.

CREATE TABLE {schema}.quarantine (
    at bigint NOT NULL,
    table_name text NOT NULL,
    key text NOT NULL,
    reason text NOT NULL,
    row_json text NOT NULL
);
