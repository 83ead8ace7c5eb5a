-- Listings, made twice: the oldest first and the newest first.
CREATE OR REPLACE FUNCTION {schema}.{newest}scan_sessions_v1(
    number bigint, listed_by text, whose text, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    page {schema}.sessions[];
BEGIN
    CASE listed_by
    WHEN 'owner' THEN
        page := ARRAY(SELECT s FROM {schema}.sessions s
            WHERE s.owner = whose AND s.deadline > 0 AND (s.created_at, s.id) {follows} (after_at, after_id)
            ORDER BY s.created_at{descending}, s.id{descending} LIMIT most);
    WHEN 'detached' THEN
        page := ARRAY(SELECT s FROM {schema}.sessions s
            WHERE s.deadline > 0 AND s.detached_at IS NOT NULL AND (s.created_at, s.id) {follows} (after_at, after_id)
            ORDER BY s.created_at{descending}, s.id{descending} LIMIT most);
    ELSE
        page := ARRAY(SELECT s FROM {schema}.sessions s
            WHERE s.deadline > 0 AND (s.created_at, s.id) {follows} (after_at, after_id)
            ORDER BY s.created_at{descending}, s.id{descending} LIMIT most);
    END CASE;
    RETURN QUERY
    SELECT '{newest}scan_sessions', number, {session_answers}
    FROM unnest(page) AS s
    {with_entry}
    ORDER BY s.created_at{descending}, s.id{descending};
END $$;

CREATE OR REPLACE FUNCTION {schema}.{newest}scan_tokens_v1(
    number bigint, listed_by text, whose text, after_at bigint, after_id text, most bigint
) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    page {schema}.tokens[];
BEGIN
    CASE listed_by
    WHEN 'session' THEN -- or one of those whose tokens are in it
        page := ARRAY(SELECT t FROM (
                SELECT whose AS id
                UNION ALL SELECT s.id FROM {schema}.sessions s WHERE s.successor = whose
            ) AS holder
            CROSS JOIN LATERAL (
                SELECT held FROM {schema}.tokens AS held
                WHERE held.session_id = holder.id AND (held.created_at, held.id) {follows} (after_at, after_id)
                ORDER BY held.created_at{descending}, held.id{descending} LIMIT most
            ) AS g (t)
            ORDER BY (t).created_at{descending}, (t).id{descending} LIMIT most);
    WHEN 'owner' THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.owner = whose AND (t.created_at, t.id) {follows} (after_at, after_id)
            ORDER BY t.created_at{descending}, t.id{descending} LIMIT most);
    WHEN 'tag' THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.tag = whose AND (t.created_at, t.id) {follows} (after_at, after_id)
            ORDER BY t.created_at{descending}, t.id{descending} LIMIT most);
    WHEN 'unassigned' THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.unassigned_at IS NOT NULL AND (t.created_at, t.id) {follows} (after_at, after_id)
            ORDER BY t.created_at{descending}, t.id{descending} LIMIT most);
    WHEN 'sellable' THEN
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE t.listed = 1 AND (t.created_at, t.id) {follows} (after_at, after_id)
            ORDER BY t.created_at{descending}, t.id{descending} LIMIT most);
    ELSE
        page := ARRAY(SELECT t FROM {schema}.tokens t
            WHERE (t.created_at, t.id) {follows} (after_at, after_id)
            ORDER BY t.created_at{descending}, t.id{descending} LIMIT most);
    END CASE;
    RETURN QUERY
    SELECT '{newest}scan_tokens', number, {token_answers}
    FROM unnest(page) AS t
    {with_session}
    ORDER BY t.created_at{descending}, t.id{descending};
END $$;
