-- Committing: all changes of a command, or none where a stamp has moved or it comes too late. It knows stamps and
-- instants, not rules.
--
-- {schema} is the name space. One call commits a batch of commands, each whole or not at all, in their order.
-- Locks come first, for the whole batch, and always in the same order, so that no two calls can wait for each other:
--   1. the store itself, shared (alone where a batch names more things than lock tables are made for);
--   2. names, in the order of their hashes: of what has no row to lock: absent keys, and sets of records that answer
--      "all sessions of an owner" and their like. Who reads a name takes it shared, who writes under it, alone;
--   3. rows of sessions by id, rows of tokens by id: shared where the batch writes none of the table.
-- Only then, in a later statement and so on a later snapshot, are the stamps compared. They all are under locks that
-- last until the changes are visible: nothing here rests on SERIALIZABLE. Keys are unique by constraint besides.
-- That a later statement sees a later snapshot is READ COMMITTED, whatever the server, database, role or URL has as its
-- default; the procedure committing_v1 sees to it and is the only caller.
-- Nothing outlives the statement, so a transaction pooler may stand in between.

CREATE TYPE {schema}.member_v1 AS (id text, stamp bigint);

-- The stamp of a set from its members in their order, NULL for an empty one. It reads from something, so that it cannot
-- be made a part of what calls it: in SQL it would be planned anew at each call, which costs more than the commit.
CREATE FUNCTION {schema}.set_stamp_v1(members {schema}.member_v1[]) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT encode(sha256(convert_to(string_agg(m.id || '=' || m.stamp, ' ' ORDER BY m.place), 'UTF8')), 'hex')
        FROM unnest(members) WITH ORDINALITY AS m (id, stamp, place)
    );
END $$;

-- The present stamp of one thing that was read: '0' for what is not there.
CREATE FUNCTION {schema}.stamp_v1(kind text, key text) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    present text;
    whose CONSTANT text := substr(key, strpos(key, ':') + 1);
    most bigint;
BEGIN
    IF kind IN ('sessions_of', 'newest_sessions_of', 'predecessors_of', 'tokens_of', 'transferables_of',
        'parked_tokens') THEN
        most := nullif(split_part(key, ':', 1), '');
    END IF;
    CASE kind
    WHEN 'session' THEN SELECT s.stamp INTO present FROM {schema}.sessions s WHERE s.id = key;
    WHEN 'token' THEN SELECT t.stamp INTO present FROM {schema}.tokens t WHERE t.id = key;
    WHEN 'entry' THEN SELECT o.stamp INTO present FROM {schema}.owners o WHERE o.owner = key;
    WHEN 'sessions_of' THEN -- the key of a set is how many of it (nothing: all), ':' and whose
        present := {schema}.set_stamp_v1(ARRAY(
            SELECT (m.id, m.stamp)::{schema}.member_v1 FROM {schema}.sessions m
            WHERE m.owner = whose AND m.deadline > 0 ORDER BY m.created_at, m.id LIMIT most));
    WHEN 'newest_sessions_of' THEN
        present := {schema}.set_stamp_v1(ARRAY(
            SELECT (m.id, m.stamp)::{schema}.member_v1 FROM (
                SELECT s.id, s.stamp, s.created_at FROM {schema}.sessions s
                WHERE s.owner = whose AND s.deadline > 0 ORDER BY s.created_at DESC, s.id DESC LIMIT most
            ) AS m ORDER BY m.created_at, m.id));
    WHEN 'predecessors_of' THEN
        present := {schema}.set_stamp_v1(ARRAY(
            SELECT (m.id, m.stamp)::{schema}.member_v1 FROM {schema}.sessions m
            WHERE m.successor = whose ORDER BY m.created_at, m.id LIMIT most));
    WHEN 'tokens_of' THEN
        present := {schema}.set_stamp_v1(ARRAY(
            SELECT (m.id, m.stamp)::{schema}.member_v1 FROM {schema}.tokens m
            WHERE m.session_id = whose ORDER BY m.created_at, m.id LIMIT most));
    WHEN 'transferables_of' THEN
        present := {schema}.set_stamp_v1(ARRAY(
            SELECT (m.id, m.stamp)::{schema}.member_v1 FROM {schema}.tokens m
            WHERE m.session_id = whose AND m.kind = 'transferable' ORDER BY m.created_at, m.id LIMIT most));
    WHEN 'parked_tokens' THEN
        present := {schema}.set_stamp_v1(ARRAY(
            SELECT (m.id, m.stamp)::{schema}.member_v1 FROM {schema}.tokens m
            WHERE m.owner = whose AND m.session_id IS NULL AND m.kind = 'transferable'
            ORDER BY m.created_at, m.id LIMIT most));
    WHEN 'session_count_of' THEN
        SELECT count(*) INTO present FROM {schema}.sessions s WHERE s.owner = key AND s.deadline > 0;
    WHEN 'token_count_of' THEN SELECT count(*) INTO present FROM {schema}.tokens t WHERE t.session_id = key;
    WHEN 'transferable_count_of' THEN
        SELECT count(*) INTO present FROM {schema}.tokens t WHERE t.session_id = key AND t.kind = 'transferable';
    WHEN 'session_lookup' THEN SELECT s.stamp INTO present FROM {schema}.sessions s WHERE s.lookup = key;
    WHEN 'token_lookup' THEN SELECT t.stamp INTO present FROM {schema}.tokens t WHERE t.lookup = key;
    WHEN 'idempotency' THEN SELECT i.stamp INTO present FROM {schema}.idempotency i WHERE i.key = stamp_v1.key;
    WHEN 'setting' THEN SELECT g.stamp INTO present FROM {schema}.settings g WHERE g.name = key;
    WHEN 'key' THEN SELECT k.stamp INTO present FROM {schema}.service_keys k WHERE k.id = key;
    WHEN 'key_lookup' THEN SELECT k.stamp INTO present FROM {schema}.service_keys k WHERE k.lookup = key;
    END CASE;
    RETURN coalesce(present, '0');
END $$;

CREATE FUNCTION {schema}.lock_v1(batch jsonb) RETURNS void LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    seed CONSTANT bigint := hashtextextended('session_tokens {name}', 0);
BEGIN
    PERFORM set_config('lock_timeout', batch->>'lock_timeout_ms', true);
    IF (batch->>'alone')::boolean THEN
        PERFORM pg_advisory_xact_lock(seed);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(seed);
        PERFORM CASE WHEN wanted.alone THEN pg_advisory_xact_lock(wanted.hash)
            ELSE pg_advisory_xact_lock_shared(wanted.hash) END
        FROM (
            SELECT hashtextextended(named.name, seed) AS hash, bool_or(named.alone) AS alone
            FROM (
                SELECT name, true AS alone FROM jsonb_array_elements_text(batch->'exclusive') AS name
                UNION ALL
                SELECT name, false FROM jsonb_array_elements_text(batch->'shared') AS name
            ) AS named
            GROUP BY 1
            ORDER BY 1
        ) AS wanted;
    END IF;
    IF batch ? 'sessions_written' THEN
        PERFORM FROM {schema}.sessions
        WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(batch->'sessions_written'))) ORDER BY id FOR UPDATE;
    ELSIF batch ? 'sessions_read' THEN
        PERFORM FROM {schema}.sessions
        WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(batch->'sessions_read'))) ORDER BY id FOR SHARE;
    END IF;
    IF batch ? 'tokens_written' THEN
        PERFORM FROM {schema}.tokens
        WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(batch->'tokens_written'))) ORDER BY id FOR UPDATE;
    ELSIF batch ? 'tokens_read' THEN
        PERFORM FROM {schema}.tokens
        WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(batch->'tokens_read'))) ORDER BY id FOR SHARE;
    END IF;
END $$;

CREATE FUNCTION {schema}.write_sessions_v1(change jsonb, mark jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    item jsonb;
    s {schema}.sessions;
BEGIN
    FOR item IN SELECT jsonb_array_elements(change->'sessions_changed') LOOP
        s := jsonb_populate_record(NULL::{schema}.sessions, item || mark);
        UPDATE {schema}.sessions AS old SET
            owner = s.owner, lookup = s.lookup, created_at = s.created_at, last_seen_at = s.last_seen_at,
            authenticated_at = s.authenticated_at, deadline = s.deadline, idle_timeout_ms = s.idle_timeout_ms,
            max_age_ms = s.max_age_ms, detached_timeout_ms = s.detached_timeout_ms, detachable = s.detachable,
            detached_at = s.detached_at, ended_at = s.ended_at, end_reason = s.end_reason, sweep_at = s.sweep_at,
            owner_epoch = s.owner_epoch, version = s.version, client_id = s.client_id, name = s.name,
            label = s.label, user_agent = s.user_agent, address = s.address, data = s.data,
            data_versions = s.data_versions, successor = s.successor, moves = s.moves, ahead_ms = s.ahead_ms,
            secret_kind = s.secret_kind, mac = s.mac, stamp = s.stamp
        WHERE old.id = s.id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'session % is not there to be changed', s.id USING ERRCODE = '40001';
        END IF;
    END LOOP;
    INSERT INTO {schema}.sessions
    SELECT made.* FROM jsonb_array_elements(change->'sessions_made') AS made_json,
        jsonb_populate_record(NULL::{schema}.sessions, made_json || mark) AS made;
END $$;

CREATE FUNCTION {schema}.write_tokens_v1(change jsonb, mark jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    item jsonb;
    t {schema}.tokens;
BEGIN
    FOR item IN SELECT jsonb_array_elements(change->'tokens_changed') LOOP
        t := jsonb_populate_record(NULL::{schema}.tokens, item || mark);
        UPDATE {schema}.tokens AS old SET
            owner = t.owner, lookup = t.lookup, kind = t.kind, session_id = t.session_id, value = t.value,
            is_json = t.is_json, created_at = t.created_at, timeout_ms = t.timeout_ms, own_deadline = t.own_deadline,
            deadline = t.deadline, disownment_timeout_ms = t.disownment_timeout_ms, held_since = t.held_since,
            unassigned_at = t.unassigned_at, previous_owner = t.previous_owner, epoch = t.epoch, version = t.version,
            client_id = t.client_id, name = t.name, listed = t.listed, price = t.price, currency = t.currency,
            gift = t.gift, mac = t.mac, stamp = t.stamp
        WHERE old.id = t.id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'token % is not there to be changed', t.id USING ERRCODE = '40001';
        END IF;
    END LOOP;
    INSERT INTO {schema}.tokens
    SELECT made.* FROM jsonb_array_elements(change->'tokens_made') AS made_json,
        jsonb_populate_record(NULL::{schema}.tokens, made_json || mark) AS made;
END $$;

-- Most commands that come here bring one kind of these records: the statements of the others are not begun.
CREATE FUNCTION {schema}.write_rest_v1(change jsonb, mark jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
BEGIN
    IF change->'entries' IS NOT NULL THEN
        INSERT INTO {schema}.owners
        SELECT put.* FROM jsonb_array_elements(change->'entries') AS made_json,
            jsonb_populate_record(NULL::{schema}.owners, made_json || mark) AS put
        ON CONFLICT (owner) DO UPDATE SET epoch = excluded.epoch, disabled_at = excluded.disabled_at,
            watermark = excluded.watermark, reason = excluded.reason, mac = excluded.mac, stamp = excluded.stamp;
    END IF;
    IF change->'forgotten' IS NOT NULL THEN
        DELETE FROM {schema}.idempotency
        WHERE key = ANY(ARRAY(SELECT jsonb_array_elements_text(change->'forgotten')));
    END IF;
    IF change->'outcomes' IS NOT NULL THEN
        INSERT INTO {schema}.idempotency
        SELECT put.* FROM jsonb_array_elements(change->'outcomes') AS made_json,
            jsonb_populate_record(NULL::{schema}.idempotency, made_json || mark) AS put
        ON CONFLICT (key) DO UPDATE SET request = excluded.request, nonce = excluded.nonce, key_id = excluded.key_id,
            outcome = excluded.outcome, expires_at = excluded.expires_at, mac = excluded.mac, stamp = excluded.stamp;
    END IF;
    IF change->'settings_gone' IS NOT NULL THEN
        DELETE FROM {schema}.settings
        WHERE name = ANY(ARRAY(SELECT jsonb_array_elements_text(change->'settings_gone')));
    END IF;
    IF change->'settings' IS NOT NULL THEN
        INSERT INTO {schema}.settings
        SELECT put.* FROM jsonb_array_elements(change->'settings') AS made_json,
            jsonb_populate_record(NULL::{schema}.settings, made_json || mark) AS put
        ON CONFLICT (name) DO UPDATE SET text = excluded.text, mac = excluded.mac, stamp = excluded.stamp;
    END IF;
    IF change->'keys_gone' IS NOT NULL THEN
        DELETE FROM {schema}.service_keys
        WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(change->'keys_gone')));
    END IF;
    IF change->'keys' IS NOT NULL THEN
        INSERT INTO {schema}.service_keys
        SELECT put.* FROM jsonb_array_elements(change->'keys') AS made_json,
            jsonb_populate_record(NULL::{schema}.service_keys, made_json || mark) AS put
        ON CONFLICT (id) DO UPDATE SET lookup = excluded.lookup, role = excluded.role,
            created_at = excluded.created_at, expires_at = excluded.expires_at, label = excluded.label,
            networks = excluded.networks, owner_prefix = excluded.owner_prefix, namespace = excluded.namespace,
            max_age_ms = excluded.max_age_ms, rate = excluded.rate, owner_creations = excluded.owner_creations,
            mac = excluded.mac, stamp = excluded.stamp;
    END IF;
END $$;

-- Answers for each command of the batch whether it was written. One that comes at or after its not_after (milliseconds)
-- is not: what it judged alive is over. The clock is asked after the locks, and again when all is written, as the last
-- step before the commit: if one became late by then, the whole batch is taken back.
-- A stamp is the number of the server's timeline, which each promotion raises, before a number of the sequence (44 bits):
-- a standby knows of the sequence no further than what reached it, and would give out what was lost once more.
CREATE FUNCTION {schema}.commit_v1(batch jsonb) RETURNS boolean[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    change jsonb;
    mark jsonb;
    written boolean[] := '{}';
    least bigint;
    branch CONSTANT bigint := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint << 44;
BEGIN
    PERFORM {schema}.lock_v1(batch);
    FOR change IN SELECT jsonb_array_elements(batch->'commands') LOOP
        IF EXISTS (
            SELECT FROM jsonb_array_elements(change->'stamps') AS was
            WHERE {schema}.stamp_v1(was->>0, was->>1) <> was->>2
        ) OR {schema}.now_v1() >= (change->>'not_after')::bigint THEN
            written := written || false;
            CONTINUE;
        END IF;
        mark := jsonb_build_object('stamp', branch + nextval('{schema}.stamps'));
        IF change ? 'tokens_gone' THEN
            DELETE FROM {schema}.tokens
            WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(change->'tokens_gone')));
        END IF;
        IF change ? 'sessions_gone' THEN
            DELETE FROM {schema}.sessions
            WHERE id = ANY(ARRAY(SELECT jsonb_array_elements_text(change->'sessions_gone')));
        END IF;
        IF change ? 'sessions_changed' OR change ? 'sessions_made' THEN
            PERFORM {schema}.write_sessions_v1(change, mark);
        END IF;
        IF change ? 'tokens_changed' OR change ? 'tokens_made' THEN
            PERFORM {schema}.write_tokens_v1(change, mark);
        END IF;
        IF change ? 'rest' THEN
            PERFORM {schema}.write_rest_v1(change, mark);
        END IF;
        written := written || true;
        least := least(least, (change->>'not_after')::bigint);
    END LOOP;
    IF {schema}.now_v1() >= least THEN
        RAISE EXCEPTION 'what was judged alive is over' USING ERRCODE = '40001';
    END IF;
    RETURN written;
END $$;

-- Commits a batch at READ COMMITTED: what was begun at another level held nothing yet, and is begun anew.
CREATE PROCEDURE {schema}.committing_v1(batch jsonb, INOUT written boolean[]) LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        ROLLBACK;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    written := {schema}.commit_v1(batch);
END $$;
