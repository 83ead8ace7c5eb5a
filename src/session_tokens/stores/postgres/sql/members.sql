-- The records of each of some sets, oldest first: the first, or (descending) the last few of them.
CREATE OR REPLACE FUNCTION {schema}.{name}_v1(keys text[], limits bigint[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT '{name}', k.n, {record}, NULL::text, NULL::text, NULL::text
    FROM unnest(keys, limits) WITH ORDINALITY AS k (key, most, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.{table} AS held WHERE held.{of} = k.key{where}
        ORDER BY held.created_at{descending}, held.id{descending} LIMIT k.most
    ) AS g (r)
    ORDER BY k.n, (r).created_at, (r).id;
END $$;
