-- What a name space has beside the tables of its records, {space} being the beginning of their names.

-- The events that are kept, where they are; number is the place in the log, microseconds.

CREATE TABLE {space}events (
    number INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    mac TEXT NOT NULL
);
