-- What a name space holds beside the tables of its records, which follow from the table of kinds.
--
-- {schema} is the name space. Instants and durations are milliseconds; 9223372036854775807 is never.
-- Text that is compared is kept under the C collation: as Python compares it, and no locale can change an index.
-- NUL and U+001A are written as U+001A + '0' and U+001A + '1', because PostgreSQL holds no NUL in text.
-- There are no foreign keys: an ended session may be forgotten before the last token that it held was rewritten,
-- and a referential check would take row locks in an order of its own. Not ended is written as deadline > 0: of an
-- empty table, PostgreSQL takes almost nothing to be NULL, and would go through all of an index in the wrong order
-- rather than look an owner up.

CREATE TABLE {schema}.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which peppers records may be under: those that some process has had as its current one, and since when. A process
-- that lacks one of them does not know whether what it does not find is there.
CREATE TABLE {schema}.peppers (
    key_id text COLLATE "C" PRIMARY KEY,
    check_value text NOT NULL,
    recorded_at bigint NOT NULL,
    used_at bigint
);

-- What a check set aside: rows that nobody with the pepper wrote, and rows that lead nowhere, as they were.
-- Nothing of ours reads it; operators may delete from it.
CREATE TABLE {schema}.quarantine (
    at bigint NOT NULL,
    table_name text NOT NULL,
    key text NOT NULL,
    reason text NOT NULL,
    row_json text NOT NULL
);

CREATE TYPE {schema}.found_v1 AS (query text, n bigint, asked text, second text, third text, fourth text);

-- The events that are kept (events.sql), and up to where they were taken away.
CREATE TABLE {schema}.events (
    place bigint NOT NULL,
    minor integer NOT NULL,
    at bigint NOT NULL,
    text text NOT NULL,
    mac text NOT NULL,
    PRIMARY KEY (place, minor)
);

CREATE TABLE {schema}.events_trimmed (
    single boolean PRIMARY KEY CHECK (single),
    place bigint NOT NULL,
    minor integer NOT NULL
);
INSERT INTO {schema}.events_trimmed VALUES (true, 0, 0);
