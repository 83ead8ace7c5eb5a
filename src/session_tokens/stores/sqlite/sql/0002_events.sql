-- The events that are kept, where they are; number is the place in the log, microseconds.

CREATE TABLE {space}events (
    number INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    mac TEXT NOT NULL
);
