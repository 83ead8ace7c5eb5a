-- The tables of one name space: the columns of record_codec, a MAC over them, and a stamp that moves with each write.
--
-- {schema} is the name space. Instants and durations are milliseconds; 9223372036854775807 is never.
-- Text is kept under the C collation: it is compared as Python compares it, and no locale can change an index.
-- NUL and U+001A are written as U+001A + '0' and U+001A + '1', because PostgreSQL holds no NUL in text.
-- There are no foreign keys: an ended session may be forgotten before the last token that it held was rewritten,
-- and a referential check would take row locks in an order of its own.

CREATE TABLE {schema}.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE {schema}.peppers (
    key_id text COLLATE "C" PRIMARY KEY,
    check_value text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE SEQUENCE {schema}.stamps AS bigint CACHE 1;

CREATE TABLE {schema}.sessions (
    id text COLLATE "C" PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    lookup text COLLATE "C",
    created_at bigint NOT NULL,
    last_seen_at bigint NOT NULL,
    authenticated_at bigint NOT NULL,
    deadline bigint NOT NULL,
    idle_timeout_ms bigint,
    max_age_ms bigint,
    detached_timeout_ms bigint,
    detachable boolean NOT NULL,
    detached_at bigint,
    ended_at bigint,
    end_reason text,
    sweep_at bigint NOT NULL,
    owner_epoch bigint NOT NULL,
    version bigint NOT NULL,
    client_id text,
    name text,
    label text,
    user_agent text,
    address text,
    data text NOT NULL,
    data_versions text NOT NULL,
    successor text COLLATE "C",
    moves bigint NOT NULL,
    ahead_ms bigint NOT NULL,
    secret_kind text,
    mac text NOT NULL,
    stamp bigint NOT NULL,
    CONSTRAINT sessions_ended_is_dead CHECK ((ended_at IS NULL) = (deadline > 0))
) WITH (fillfactor = 80);

-- Not ended is written as deadline > 0: of an empty table, PostgreSQL takes almost nothing to be NULL, and would go
-- through all of an index in the wrong order rather than look an owner up.
CREATE UNIQUE INDEX sessions_lookup ON {schema}.sessions (lookup) WHERE lookup IS NOT NULL;
CREATE INDEX sessions_of_owner ON {schema}.sessions (owner, created_at, id) WHERE deadline > 0;
CREATE INDEX sessions_in_order ON {schema}.sessions (created_at, id) WHERE deadline > 0;
CREATE INDEX sessions_detached ON {schema}.sessions (created_at, id) WHERE deadline > 0 AND detached_at IS NOT NULL;
CREATE INDEX sessions_replaced ON {schema}.sessions (successor, created_at, id) WHERE successor IS NOT NULL;
CREATE INDEX sessions_to_sweep ON {schema}.sessions (sweep_at) WHERE sweep_at < 9223372036854775807;

CREATE TABLE {schema}.tokens (
    id text COLLATE "C" PRIMARY KEY,
    owner text COLLATE "C",
    lookup text COLLATE "C",
    kind text NOT NULL,
    session_id text COLLATE "C",
    value text NOT NULL,
    is_json boolean NOT NULL,
    created_at bigint NOT NULL,
    timeout_ms bigint,
    own_deadline bigint NOT NULL,
    deadline bigint NOT NULL,
    disownment_timeout_ms bigint,
    held_since bigint NOT NULL,
    unassigned_at bigint,
    previous_owner text COLLATE "C",
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    client_id text,
    name text,
    listed boolean,
    price text,
    currency text,
    gift boolean,
    mac text NOT NULL,
    stamp bigint NOT NULL,
    CONSTRAINT tokens_kind CHECK (kind IN ('free', 'session-bound', 'transferable')),
    CONSTRAINT tokens_unassigned_has_no_owner CHECK (unassigned_at IS NULL OR (owner IS NULL AND session_id IS NULL))
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX tokens_lookup ON {schema}.tokens (lookup) WHERE lookup IS NOT NULL;
CREATE INDEX tokens_of_session ON {schema}.tokens (session_id, created_at, id) WHERE session_id IS NOT NULL;
CREATE INDEX tokens_of_owner ON {schema}.tokens (owner, created_at, id) WHERE owner IS NOT NULL;
CREATE INDEX tokens_parked ON {schema}.tokens (owner, created_at, id)
    WHERE owner IS NOT NULL AND session_id IS NULL AND kind = 'transferable';
CREATE INDEX tokens_in_order ON {schema}.tokens (created_at, id);
CREATE INDEX tokens_listed ON {schema}.tokens (created_at, id) WHERE listed;
CREATE INDEX tokens_unassigned ON {schema}.tokens (created_at, id) WHERE unassigned_at IS NOT NULL;
CREATE INDEX tokens_to_sweep ON {schema}.tokens (deadline) WHERE deadline < 9223372036854775807;

CREATE TABLE {schema}.owners (
    owner text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    disabled_at bigint,
    watermark bigint NOT NULL,
    reason text NOT NULL,
    mac text NOT NULL,
    stamp bigint NOT NULL
);

CREATE TABLE {schema}.idempotency (
    key text COLLATE "C" PRIMARY KEY,
    request text NOT NULL,
    nonce text NOT NULL,
    key_id text NOT NULL,
    outcome text NOT NULL,
    expires_at bigint NOT NULL,
    mac text NOT NULL,
    stamp bigint NOT NULL
);

CREATE INDEX idempotency_to_sweep ON {schema}.idempotency (expires_at);

CREATE TABLE {schema}.settings (
    name text COLLATE "C" PRIMARY KEY,
    text text NOT NULL,
    mac text NOT NULL,
    stamp bigint NOT NULL
);

CREATE TABLE {schema}.service_keys (
    id text COLLATE "C" PRIMARY KEY,
    lookup text COLLATE "C" NOT NULL UNIQUE,
    role text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    label text,
    networks text,
    owner_prefix text,
    namespace text,
    max_age_ms bigint,
    rate bigint,
    owner_creations bigint,
    mac text NOT NULL,
    stamp bigint NOT NULL
);
