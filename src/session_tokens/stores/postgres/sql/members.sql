-- The records of each of some sets, oldest first: the first, or (descending) the last few of them.
CREATE OR REPLACE FUNCTION {schema}.{name}_v1(keys text[]{limits}) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT '{name}', k.n, {answers}
    FROM unnest(keys{limits_given}) WITH ORDINALITY AS k (key{most}, n)
    CROSS JOIN LATERAL (
        SELECT held FROM {schema}.{table} AS held WHERE held.{of} = k.key{where}
        ORDER BY held.created_at{descending}, held.id{descending} {first}
    ) AS g ({letter})
    ORDER BY k.n, ({letter}).created_at, ({letter}).id;
END $$;
