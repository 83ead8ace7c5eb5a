-- Committing: all changes of a command, or none where it conflicts (a stamp has moved) or comes too late. It knows
-- stamps and instants, not rules.
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
-- Plans are made once and kept, as for reading (reading.sql). That is set once for a batch, in commit_v1, and not for
-- each of the functions that it calls for each part: to set a parameter and set it back costs half as much as the look
-- for a stamp that it was for.

-- The present stamp of one thing that was read: '0' for what is not there, and for an empty set. That of a set is a digest
-- of its members in their order, each with its stamp.
CREATE OR REPLACE FUNCTION {schema}.stamp_v1(part_kind text, part_key text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    present text;
    is_set CONSTANT boolean := part_kind IN ({sets});
    whose CONSTANT text := substr(part_key, strpos(part_key, ':') + 1);
    most bigint;
BEGIN
    IF is_set THEN -- its key is how many of it (nothing: all), ':' and whose
        most := nullif(split_part(part_key, ':', 1), '');
    END IF;
    CASE part_kind
{stamps}
    END CASE;
    IF is_set AND present IS NOT NULL THEN
        present := encode(sha256(convert_to(present, 'UTF8')), 'hex');
    END IF;
    RETURN coalesce(present, '0');
END $$;

CREATE OR REPLACE FUNCTION {schema}.lock_v1(batch jsonb) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    seed CONSTANT bigint := hashtextextended('session_tokens {namespace}', 0);
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

-- Most commands bring one or two kinds of records that are not sessions and tokens: the statements of the others are not
-- begun.
CREATE OR REPLACE FUNCTION {schema}.write_rest_v1(change jsonb, mark jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
{rest}
END $$;

-- How many standbys have a commit before it is answered, as this server and this session are set.
CREATE OR REPLACE FUNCTION {schema}.confirming_v1() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN names = '' OR current_setting('synchronous_commit') IN ('local', 'off') THEN 0
        ELSE coalesce((regexp_match(names, '^\s*(?:first|any)?\s*(\d+)\s*\(', 'i'))[1]::integer, 1) END
    FROM current_setting('synchronous_standby_names') AS names
$$;

-- Answers for each command of the batch whether it was written. One that comes at or after its not_after (milliseconds)
-- is not: what it judged alive is over; nor one that comes before the instant at which it was judged, for then whoever
-- sent it was wrong about the time. The clock is asked after the locks, and again when all is written, as the last step
-- before the commit: if one became late by then, the whole batch is taken back.
-- What a command writes has its stamp, a random number: none is ever given out twice, on whatever server.
CREATE OR REPLACE FUNCTION {schema}.commit_v1(batch jsonb) RETURNS boolean[]
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    change jsonb;
    mark jsonb;
    written boolean[] := '{}';
    least bigint;
    told integer := 0;
    now bigint;
BEGIN
    IF batch ? 'replicas' AND {schema}.confirming_v1() < (batch->>'replicas')::integer THEN
        RAISE EXCEPTION '% of % synchronous standbys confirm what PostgreSQL commits here',
            {schema}.confirming_v1(), batch->>'replicas' USING ERRCODE = 'STR01';
    END IF;
    PERFORM {schema}.lock_v1(batch);
    now := {schema}.now_v1();
    FOR change IN SELECT jsonb_array_elements(batch->'commands') LOOP
        IF now < (change->>'judged_at')::bigint OR now >= (change->>'not_after')::bigint OR EXISTS (
            SELECT FROM jsonb_array_elements(change->'stamps') AS was
            WHERE {schema}.stamp_v1(was->>0, was->>1) <> was->>2
        ) THEN
            written := written || false;
            CONTINUE;
        END IF;
        mark := jsonb_build_object('stamp', change->'stamp');
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
        IF change ? 'events' THEN
            told := {schema}.write_events_v1(change, told);
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
CREATE OR REPLACE PROCEDURE {schema}.committing_v1(batch jsonb, INOUT written boolean[]) LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        ROLLBACK;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    written := {schema}.commit_v1(batch);
END $$;
