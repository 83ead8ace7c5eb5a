-- The tables of one name space beside those of records, which the table of kinds makes. {p} is how their names begin.
-- Text is kept as bytes: it is compared as Python compares it, and no collation can change an index.

CREATE TABLE IF NOT EXISTS {p}migrations (
    number INT PRIMARY KEY,
    name VARBINARY(100) NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS {p}peppers (
    key_id VARBINARY(64) PRIMARY KEY,
    check_value VARBINARY(255) NOT NULL,
    recorded_at BIGINT NOT NULL,
    used_at BIGINT
) ENGINE = InnoDB;

-- What is locked by name is locked as the row to which its name leads; they are there from the beginning, and stay.
CREATE TABLE IF NOT EXISTS {p}slots (
    slot SMALLINT UNSIGNED PRIMARY KEY
) ENGINE = InnoDB;

-- What a check set aside: rows that nobody with the pepper wrote, and rows that lead nowhere, as they were.
CREATE TABLE IF NOT EXISTS {p}quarantine (
    at BIGINT NOT NULL,
    table_name VARBINARY(64) NOT NULL,
    `key` VARBINARY(768) NOT NULL,
    reason BLOB NOT NULL,
    row_json LONGBLOB NOT NULL
) ENGINE = InnoDB;

-- The events that are kept. Who writes some raises the place in the log's one row, as the last lock of its commit, and
-- so holds others back until all see them: no event comes to stand before one that was seen.
CREATE TABLE IF NOT EXISTS {p}events (
    place BIGINT NOT NULL,
    minor INT NOT NULL,
    at BIGINT NOT NULL,
    text MEDIUMBLOB NOT NULL,
    mac VARBINARY(255) NOT NULL,
    PRIMARY KEY (place, minor)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS {p}event_log (
    single TINYINT PRIMARY KEY,
    place BIGINT NOT NULL,
    trimmed_place BIGINT NOT NULL,
    trimmed_minor INT NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO {p}event_log VALUES (1, 0, 0, 0);

INSERT IGNORE INTO {p}slots
SELECT tens.n * 64 + ones.n FROM
    (WITH RECURSIVE d (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM d WHERE n < 63) SELECT n FROM d) AS tens,
    (WITH RECURSIVE d (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM d WHERE n < 63) SELECT n FROM d) AS ones;
