-- Reading: one function for each kind of question, each answering many of them at once.
--
-- {schema} is the name space. All are STABLE: called in one statement they see one snapshot, so their answers hold as
-- of one instant. They know stamps and order, not rules. Each row answers the question number n (from 1) of its kind
-- with up to four JSON arrays, of what was asked for and of what comes along: the columns of the table in their order,
-- its MAC, its stamp.
-- Plans are made once and kept while the tables grow: making one costs more than a read. So that one made for a small
-- table serves a large one, scans of whole tables are off, and each question is a subquery of its own
-- (LATERAL … OFFSET 0), which can only be answered by its index.
--
-- Those that ask the same of several kinds or sets are made of get.sql, members.sql and count.sql.

-- On a standby there is no now: what it has may be over. There pg_current_wal_lsn() raises, which nowhere else is called.
CREATE OR REPLACE FUNCTION {schema}.now_v1() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN pg_is_in_recovery() THEN (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint
        ELSE floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint END
$$;

-- The hot path: what look-up keys lead to, in one text instead of a row of columns for each. Of each key, in their order,
-- it holds an item: a JSON array a line, the record and then what comes along with it, an empty line for what is not
-- there (only such lines, or nothing, where the key leads nowhere). A separator (1e) ends each item, and the peppers in use follow the last one
-- if a key leads nowhere: it may be under one that the asking process lacks. JSON has neither of its own. Who asks adds
-- the clock. One key alone has a function of its own, which costs two thirds of what the one for many does.
CREATE OR REPLACE FUNCTION {schema}.nobody_v1() RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT string_agg(p, ',') FROM {schema}.peppers_in_use_v1() AS p);
END $$;

CREATE OR REPLACE FUNCTION {schema}.find_session_v1(wanted text) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    answer text;
BEGIN
    SELECT concat({session_item}, E'\x1e') INTO answer
    FROM {schema}.sessions s LEFT JOIN {schema}.owners o ON o.owner = s.owner
    WHERE s.lookup = wanted;
    RETURN coalesce(answer, concat(E'\x1e', {schema}.nobody_v1()));
END $$;

CREATE OR REPLACE FUNCTION {schema}.find_token_v1(wanted text) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    answer text;
BEGIN
    SELECT concat({token_item}, E'\x1e') INTO answer
    FROM {schema}.tokens t LEFT JOIN {schema}.sessions s ON s.id = t.session_id
        LEFT JOIN {schema}.owners o ON o.owner = s.owner LEFT JOIN {schema}.sessions h ON h.id = s.successor
    WHERE t.lookup = wanted;
    RETURN coalesce(answer, concat(E'\x1e', {schema}.nobody_v1()));
END $$;

-- The items come in the order of the keys: each join asks an index for one row of what stands on its left.
CREATE OR REPLACE FUNCTION {schema}.looked_up_v1(session_keys text[], token_keys text[], service_keys text[]) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    items text;
    answer text := '';
    there bigint;
    led bigint := 0;
BEGIN
    IF session_keys <> '{}' THEN
        SELECT string_agg(concat({session_item}, E'\x1e'), ''), count((s).id) INTO items, there
        FROM unnest(session_keys) AS k (key)
        LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.lookup = k.key OFFSET 0) AS f (s)
            ON true
        {with_entry};
        answer := items;
        led := there;
    END IF;
    IF token_keys <> '{}' THEN
        SELECT string_agg(concat({token_item}, E'\x1e'), ''), count((t).id) INTO items, there
        FROM unnest(token_keys) AS k (key)
        LEFT JOIN LATERAL (SELECT held FROM {schema}.tokens AS held WHERE held.lookup = k.key OFFSET 0) AS g (t)
            ON true
        {with_session};
        answer := answer || items;
        led := led + there;
    END IF;
    IF service_keys <> '{}' THEN
        SELECT string_agg(concat({schema}.service_key_json_v1(r), E'\x1e'), ''), count((r).id) INTO items, there
        FROM unnest(service_keys) AS k (key)
        LEFT JOIN LATERAL (SELECT held FROM {schema}.service_keys AS held WHERE held.lookup = k.key OFFSET 0) AS g (r)
            ON true;
        answer := answer || items;
        led := led + there;
    END IF;
    IF led < cardinality(session_keys) + cardinality(token_keys) + cardinality(service_keys) THEN
        answer := concat(answer, {schema}.nobody_v1());
    END IF;
    RETURN answer;
END $$;

-- A scan names the one index that spares most, and whose entries of it it wants.
CREATE OR REPLACE FUNCTION {schema}.scan_keys_v1(
    number bigint, listed_by text, whose text, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1 LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT 'scan_keys', number, {schema}.service_key_json_v1(s), NULL::text, NULL::text, NULL::text
    FROM {schema}.service_keys s
    ORDER BY s.created_at, s.id;
END $$;

CREATE OR REPLACE FUNCTION {schema}.peppers_in_use_v1() RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT p.key_id FROM {schema}.peppers p WHERE p.used_at IS NOT NULL ORDER BY p.key_id;
END $$;

CREATE OR REPLACE FUNCTION {schema}.scan_peppers_v1(
    number bigint, listed_by text, whose text, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1 LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT 'scan_peppers', number, p, NULL::text, NULL::text, NULL::text FROM {schema}.peppers_in_use_v1() AS p;
END $$;

-- The sessions whose time to be swept has come.
CREATE OR REPLACE FUNCTION {schema}.scan_due_v1(
    number bigint, listed_by text, whose text, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now CONSTANT bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
    page {schema}.sessions[];
BEGIN
    page := ARRAY(SELECT s FROM {schema}.sessions s
        WHERE s.sweep_at <= now AND s.sweep_at < 9223372036854775807 ORDER BY s.sweep_at LIMIT most);
    RETURN QUERY
    SELECT 'scan_due', number, {session_answers}
    FROM unnest(page) AS s
    {with_entry}
    ORDER BY s.sweep_at;
END $$;

-- The unassigned tokens in the order in which they became so.
CREATE OR REPLACE FUNCTION {schema}.scan_waiting_v1(
    number bigint, listed_by text, whose text, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    page {schema}.tokens[];
BEGIN
    IF listed_by = 'tag' THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.tag = whose AND t.unassigned_at IS NOT NULL AND (t.unassigned_at, t.id) > (after_at, after_id)
            ORDER BY t.unassigned_at, t.id LIMIT most);
    ELSE
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.unassigned_at IS NOT NULL AND (t.unassigned_at, t.id) > (after_at, after_id)
            ORDER BY t.unassigned_at, t.id LIMIT most);
    END IF;
    RETURN QUERY
    SELECT 'scan_waiting', number, {token_answers}
    FROM unnest(page) AS t
    {with_session}
    ORDER BY t.unassigned_at, t.id;
END $$;

CREATE OR REPLACE FUNCTION {schema}.due_v1(until bigint, most bigint) RETURNS TABLE (kind text, id text, due_at bigint)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    (SELECT 'session', s.id, s.sweep_at FROM {schema}.sessions s
        WHERE s.sweep_at <= until AND s.sweep_at < 9223372036854775807 ORDER BY s.sweep_at LIMIT most)
    UNION ALL
    (SELECT 'token', t.id, t.deadline FROM {schema}.tokens t
        WHERE t.deadline <= until AND t.deadline < 9223372036854775807 ORDER BY t.deadline LIMIT most)
    UNION ALL
    (SELECT 'idempotency', i.key, i.expires_at FROM {schema}.idempotency i
        WHERE i.expires_at <= until ORDER BY i.expires_at LIMIT most)
    ORDER BY 3 LIMIT most;
END $$;
