-- Reading: one function for each kind of question, each answering many of them at once.
--
-- {schema} is the name space. All are STABLE: called in one statement they see one snapshot, so their answers hold as
-- of one instant. They know stamps and order, not rules. Each row answers the question number n (from 1) of its kind
-- with up to four JSON arrays: the columns of the table in their order (booleans as 0 and 1), its MAC, its stamp.
-- Plans are made once and kept while the tables grow: making one costs more than a read. So that one made for a small
-- table serves a large one, scans of whole tables are off, and each question is a subquery of its own
-- (LATERAL … OFFSET 0), which can only be answered by its index.

CREATE TYPE {schema}.found_v1 AS (want text, n bigint, token text, session text, entry text, other text);

CREATE FUNCTION {schema}.session_json_v1(s {schema}.sessions) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN s.id IS NOT NULL THEN json_build_array(
        s.id, s.owner, s.lookup, s.created_at, s.last_seen_at, s.authenticated_at, s.deadline, s.idle_timeout_ms,
        s.max_age_ms, s.detached_timeout_ms, s.detachable::int, s.detached_at, s.ended_at, s.end_reason, s.sweep_at,
        s.owner_epoch, s.version, s.client_id, s.name, s.label, s.user_agent, s.address, s.data, s.data_versions,
        s.successor, s.moves, s.ahead_ms, s.secret_kind, s.mac, s.stamp)::text END
$$;

CREATE FUNCTION {schema}.token_json_v1(t {schema}.tokens) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN t.id IS NOT NULL THEN json_build_array(
        t.id, t.owner, t.lookup, t.kind, t.session_id, t.value, t.is_json::int, t.created_at, t.timeout_ms,
        t.own_deadline, t.deadline, t.disownment_timeout_ms, t.held_since, t.unassigned_at, t.previous_owner, t.epoch,
        t.version, t.client_id, t.name, t.listed::int, t.price, t.currency, t.gift::int, t.mac, t.stamp)::text END
$$;

CREATE FUNCTION {schema}.owner_json_v1(o {schema}.owners) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN o.owner IS NOT NULL THEN
        json_build_array(o.owner, o.epoch, o.disabled_at, o.watermark, o.reason, o.mac, o.stamp)::text END
$$;

CREATE FUNCTION {schema}.key_json_v1(k {schema}.service_keys) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN k.id IS NOT NULL THEN
        json_build_array(k.id, k.lookup, k.role, k.created_at, k.expires_at, k.label, k.networks, k.owner_prefix,
            k.namespace, k.max_age_ms, k.rate, k.owner_creations, k.mac, k.stamp)::text END
$$;

-- On a standby there is no now: what it has may be over. There pg_current_wal_lsn() raises, which nowhere else is called.
CREATE FUNCTION {schema}.now_v1() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN pg_is_in_recovery() THEN (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint
        ELSE floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint END
$$;

-- The hot path: one row, with the session of the first look-up key that has one.
CREATE FUNCTION {schema}.find_session_v1(lookups text[]) RETURNS TABLE (now_ms bigint, session text, entry text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    s {schema}.sessions;
    o {schema}.owners;
BEGIN
    FOR place IN 1 .. cardinality(lookups) LOOP
        SELECT * INTO s FROM {schema}.sessions WHERE lookup = lookups[place];
        EXIT WHEN FOUND;
    END LOOP;
    SELECT * INTO o FROM {schema}.owners WHERE owner = s.owner;
    RETURN QUERY SELECT {schema}.now_v1(), {schema}.session_json_v1(s), {schema}.owner_json_v1(o);
END $$;

CREATE FUNCTION {schema}.find_token_v1(lookups text[])
RETURNS TABLE (now_ms bigint, token text, session text, entry text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    t {schema}.tokens;
    s {schema}.sessions;
    o {schema}.owners;
BEGIN
    FOR place IN 1 .. cardinality(lookups) LOOP
        SELECT * INTO t FROM {schema}.tokens WHERE lookup = lookups[place];
        EXIT WHEN FOUND;
    END LOOP;
    SELECT * INTO s FROM {schema}.sessions WHERE id = t.session_id;
    SELECT * INTO o FROM {schema}.owners WHERE owner = s.owner;
    RETURN QUERY SELECT {schema}.now_v1(), {schema}.token_json_v1(t), {schema}.session_json_v1(s),
        {schema}.owner_json_v1(o);
END $$;

CREATE FUNCTION {schema}.session_by_id_v1(ids text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'session_by_id', k.n, NULL::text, {schema}.session_json_v1(s), {schema}.owner_json_v1(o), NULL::text
    FROM unnest(ids) WITH ORDINALITY AS k (id, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = k.id OFFSET 0) AS f (s)
    LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = (s).owner OFFSET 0) AS e (o) ON true;
END $$;

CREATE FUNCTION {schema}.session_by_lookup_v1(lookups text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'session_by_lookup', k.n, NULL::text, {schema}.session_json_v1(s), {schema}.owner_json_v1(o), NULL::text
    FROM unnest(lookups) WITH ORDINALITY AS k (lookup, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.lookup = k.lookup OFFSET 0) AS f (s)
    LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = (s).owner OFFSET 0) AS e (o) ON true;
END $$;

CREATE FUNCTION {schema}.sessions_of_v1(owners text[], limits bigint[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'sessions_of', k.n, NULL::text, {schema}.session_json_v1(s), NULL::text, NULL::text
    FROM unnest(owners, limits) WITH ORDINALITY AS k (owner, most, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.sessions AS held WHERE held.owner = k.owner AND held.deadline > 0
        ORDER BY held.created_at, held.id LIMIT k.most
    ) AS f (s)
    ORDER BY k.n, (s).created_at, (s).id;
END $$;

CREATE FUNCTION {schema}.newest_sessions_of_v1(owners text[], limits bigint[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'newest_sessions_of', k.n, NULL::text, {schema}.session_json_v1(s), NULL::text, NULL::text
    FROM unnest(owners, limits) WITH ORDINALITY AS k (owner, most, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.sessions AS held WHERE held.owner = k.owner AND held.deadline > 0
        ORDER BY held.created_at DESC, held.id DESC LIMIT k.most
    ) AS f (s)
    ORDER BY k.n, (s).created_at, (s).id;
END $$;

CREATE FUNCTION {schema}.session_count_of_v1(owners text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'session_count_of', k.n, NULL::text, NULL::text, NULL::text,
        (SELECT count(*)::text FROM {schema}.sessions s WHERE s.owner = k.owner AND s.deadline > 0)
    FROM unnest(owners) WITH ORDINALITY AS k (owner, n);
END $$;

CREATE FUNCTION {schema}.predecessors_of_v1(session_ids text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'predecessors_of', k.n, NULL::text, {schema}.session_json_v1(s), NULL::text, NULL::text
    FROM unnest(session_ids) WITH ORDINALITY AS k (session_id, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.sessions AS held WHERE held.successor = k.session_id
        ORDER BY held.created_at, held.id OFFSET 0
    ) AS f (s)
    ORDER BY k.n, (s).created_at, (s).id;
END $$;

CREATE FUNCTION {schema}.entry_of_v1(names text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'entry_of', k.n, NULL::text, NULL::text, {schema}.owner_json_v1(o), NULL::text
    FROM unnest(names) WITH ORDINALITY AS k (owner, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = k.owner OFFSET 0) AS e (o);
END $$;

CREATE FUNCTION {schema}.token_by_id_v1(ids text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'token_by_id', k.n, {schema}.token_json_v1(t), {schema}.session_json_v1(s), {schema}.owner_json_v1(o),
        {schema}.session_json_v1(h)
    FROM unnest(ids) WITH ORDINALITY AS k (id, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.tokens AS held WHERE held.id = k.id OFFSET 0) AS g (t)
    LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (t).session_id OFFSET 0) AS f (s)
        ON true
    LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = (s).owner OFFSET 0) AS e (o) ON true
    LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (s).successor OFFSET 0) AS r (h)
        ON true;
END $$;

CREATE FUNCTION {schema}.token_by_lookup_v1(lookups text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'token_by_lookup', k.n, {schema}.token_json_v1(t), {schema}.session_json_v1(s), {schema}.owner_json_v1(o),
        {schema}.session_json_v1(h)
    FROM unnest(lookups) WITH ORDINALITY AS k (lookup, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.tokens AS held WHERE held.lookup = k.lookup OFFSET 0) AS g (t)
    LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (t).session_id OFFSET 0) AS f (s)
        ON true
    LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = (s).owner OFFSET 0) AS e (o) ON true
    LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (s).successor OFFSET 0) AS r (h)
        ON true;
END $$;

CREATE FUNCTION {schema}.tokens_of_v1(session_ids text[], limits bigint[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'tokens_of', k.n, {schema}.token_json_v1(t), NULL::text, NULL::text, NULL::text
    FROM unnest(session_ids, limits) WITH ORDINALITY AS k (session_id, most, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.tokens AS held WHERE held.session_id = k.session_id
        ORDER BY held.created_at, held.id LIMIT k.most
    ) AS first (t)
    ORDER BY k.n, (t).created_at, (t).id;
END $$;

CREATE FUNCTION {schema}.transferables_of_v1(session_ids text[], limits bigint[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'transferables_of', k.n, {schema}.token_json_v1(t), NULL::text, NULL::text, NULL::text
    FROM unnest(session_ids, limits) WITH ORDINALITY AS k (session_id, most, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.tokens AS held WHERE held.session_id = k.session_id AND held.kind = 'transferable'
        ORDER BY held.created_at, held.id LIMIT k.most
    ) AS g (t)
    ORDER BY k.n, (t).created_at, (t).id;
END $$;

CREATE FUNCTION {schema}.token_count_of_v1(session_ids text[], transferable boolean[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'token_count_of', k.n, NULL::text, NULL::text, NULL::text,
        (SELECT count(*)::text FROM {schema}.tokens t
            WHERE t.session_id = k.session_id AND (NOT k.moves_on OR t.kind = 'transferable'))
    FROM unnest(session_ids, transferable) WITH ORDINALITY AS k (session_id, moves_on, n);
END $$;

CREATE FUNCTION {schema}.parked_tokens_v1(owners text[], limits bigint[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'parked_tokens', k.n, {schema}.token_json_v1(t), NULL::text, NULL::text, NULL::text
    FROM unnest(owners, limits) WITH ORDINALITY AS k (owner, most, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.tokens AS held
        WHERE held.owner = k.owner AND held.session_id IS NULL AND held.kind = 'transferable'
        ORDER BY held.created_at, held.id LIMIT k.most
    ) AS g (t)
    ORDER BY k.n, (t).created_at, (t).id;
END $$;

CREATE FUNCTION {schema}.idempotency_of_v1(keys text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'idempotency_of', k.n, NULL::text, NULL::text, NULL::text,
        json_build_array(i.key, i.request, i.nonce, i.key_id, i.outcome, i.expires_at, i.mac, i.stamp)::text
    FROM unnest(keys) WITH ORDINALITY AS k (key, n)
    CROSS JOIN LATERAL (SELECT * FROM {schema}.idempotency AS held WHERE held.key = k.key OFFSET 0) AS i;
END $$;

CREATE FUNCTION {schema}.setting_of_v1(names text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'setting_of', k.n, NULL::text, NULL::text, NULL::text, json_build_array(g.name, g.text, g.mac, g.stamp)::text
    FROM unnest(names) WITH ORDINALITY AS k (name, n)
    CROSS JOIN LATERAL (SELECT * FROM {schema}.settings AS held WHERE held.name = k.name OFFSET 0) AS g;
END $$;

CREATE FUNCTION {schema}.key_by_lookup_v1(lookups text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'key_by_lookup', k.n, NULL::text, NULL::text, NULL::text, {schema}.key_json_v1(s)
    FROM unnest(lookups) WITH ORDINALITY AS k (lookup, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.service_keys AS held WHERE held.lookup = k.lookup OFFSET 0) AS f (s);
END $$;

CREATE FUNCTION {schema}.key_by_id_v1(ids text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT 'key_by_id', k.n, NULL::text, NULL::text, NULL::text, {schema}.key_json_v1(s)
    FROM unnest(ids) WITH ORDINALITY AS k (id, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.service_keys AS held WHERE held.id = k.id OFFSET 0) AS f (s);
END $$;

CREATE FUNCTION {schema}.all_keys_v1() RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT 'all_keys', 1::bigint, NULL::text, NULL::text, NULL::text, {schema}.key_json_v1(s)
    FROM {schema}.service_keys s
    ORDER BY s.created_at, s.id;
END $$;

CREATE FUNCTION {schema}.session_listing_v1(
    number bigint, of_owner text, is_detached boolean, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    page {schema}.sessions[];
BEGIN
    IF of_owner IS NOT NULL THEN
        page := ARRAY(SELECT s FROM {schema}.sessions s
            WHERE s.owner = of_owner AND s.deadline > 0 AND (s.created_at, s.id) > (after_at, after_id)
            ORDER BY s.created_at, s.id LIMIT most);
    ELSIF is_detached THEN
        page := ARRAY(SELECT s FROM {schema}.sessions s
            WHERE s.deadline > 0 AND s.detached_at IS NOT NULL AND (s.created_at, s.id) > (after_at, after_id)
            ORDER BY s.created_at, s.id LIMIT most);
    ELSE
        page := ARRAY(SELECT s FROM {schema}.sessions s
            WHERE s.deadline > 0 AND (s.created_at, s.id) > (after_at, after_id)
            ORDER BY s.created_at, s.id LIMIT most);
    END IF;
    RETURN QUERY
    SELECT 'session_listing', number, NULL::text, {schema}.session_json_v1(s), {schema}.owner_json_v1(o), NULL::text
    FROM unnest(page) AS s
    LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = s.owner OFFSET 0) AS e (o) ON true
    ORDER BY s.created_at, s.id;
END $$;

-- The tokens that may be unassigned now: those that are, and those of sessions that may be over. Where there are many
-- such sessions or owners' entries, any tokens: who asks looks at them, and goes on.
CREATE FUNCTION {schema}.maybe_unassigned_v1(after_at bigint, after_id text, most bigint)
RETURNS SETOF {schema}.tokens
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    over_max CONSTANT bigint := 200;
    over text[];
    disabled text[];
    entries bigint;
    looked_at bigint;
BEGIN
    over := ARRAY(SELECT s.id FROM {schema}.sessions s
        WHERE s.sweep_at <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 1
            AND s.sweep_at < 9223372036854775807 LIMIT over_max + 1);
    entries := (SELECT count(*) FROM (SELECT o.owner FROM {schema}.owners o ORDER BY o.owner LIMIT over_max + 1) AS few);
    IF entries <= over_max THEN
        SELECT coalesce(array_agg(theirs.id) FILTER (WHERE theirs.epoch <> theirs.owner_epoch), '{}'), count(*)
        INTO disabled, looked_at
        FROM (
            SELECT s.id, s.owner_epoch, o.epoch
            FROM (SELECT e.owner, e.epoch FROM {schema}.owners e ORDER BY e.owner) AS o CROSS JOIN LATERAL (
                SELECT held.id, held.owner_epoch FROM {schema}.sessions AS held
                WHERE held.owner = o.owner AND held.deadline > 0 OFFSET 0
            ) AS s
            LIMIT 10 * over_max + 1
        ) AS theirs;
    END IF;
    IF entries > over_max OR looked_at > 10 * over_max OR cardinality(over) + cardinality(disabled) > over_max THEN
        RETURN QUERY
        SELECT t.* FROM {schema}.tokens t WHERE (t.created_at, t.id) > (after_at, after_id)
        ORDER BY t.created_at, t.id LIMIT most;
        RETURN;
    END IF;
    RETURN QUERY
    (SELECT t.* FROM {schema}.tokens t
        WHERE t.unassigned_at IS NOT NULL AND (t.created_at, t.id) > (after_at, after_id)
        ORDER BY t.created_at, t.id LIMIT most)
    UNION ALL
    (SELECT g.* FROM (SELECT DISTINCT unnest(over || disabled) AS id) AS holder CROSS JOIN LATERAL (
        SELECT t.* FROM {schema}.tokens t
        WHERE t.session_id = holder.id AND (t.created_at, t.id) > (after_at, after_id)
        ORDER BY t.created_at, t.id LIMIT most
    ) AS g);
END $$;

CREATE FUNCTION {schema}.token_listing_v1(
    number bigint, of_owner text, of_session text, is_transferable boolean, is_sellable boolean, is_unassigned boolean,
    after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    page {schema}.tokens[];
BEGIN
    IF of_session IS NOT NULL THEN -- or one of those whose tokens are in it
        page := ARRAY(SELECT t FROM (
                SELECT of_session AS id
                UNION ALL SELECT s.id FROM {schema}.sessions s WHERE s.successor = of_session
            ) AS holder
            CROSS JOIN LATERAL (
                SELECT held FROM {schema}.tokens AS held
                WHERE held.session_id = holder.id AND (held.created_at, held.id) > (after_at, after_id)
                ORDER BY held.created_at, held.id LIMIT most
            ) AS g (t)
            ORDER BY (t).created_at, (t).id LIMIT most);
    ELSIF of_owner IS NOT NULL THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.owner = of_owner AND (t.created_at, t.id) > (after_at, after_id)
            ORDER BY t.created_at, t.id LIMIT most);
    ELSIF is_unassigned THEN
        page := ARRAY(SELECT t FROM {schema}.maybe_unassigned_v1(after_at, after_id, most) t
            ORDER BY t.created_at, t.id LIMIT most);
    ELSIF is_sellable THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.listed AND (t.created_at, t.id) > (after_at, after_id)
            ORDER BY t.created_at, t.id LIMIT most);
    ELSE
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE (t.created_at, t.id) > (after_at, after_id)
            ORDER BY t.created_at, t.id LIMIT most);
    END IF;
    RETURN QUERY
    SELECT 'token_listing', number, {schema}.token_json_v1(t), {schema}.session_json_v1(s), {schema}.owner_json_v1(o),
        {schema}.session_json_v1(h)
    FROM unnest(page) AS t
    LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = t.session_id OFFSET 0) AS f (s)
        ON true
    LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = (s).owner OFFSET 0) AS e (o) ON true
    LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (s).successor OFFSET 0) AS r (h)
        ON true
    ORDER BY t.created_at, t.id;
END $$;

CREATE FUNCTION {schema}.due_v1(until bigint, most bigint) RETURNS TABLE (kind text, id text, due_at bigint)
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
