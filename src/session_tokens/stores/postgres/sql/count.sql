-- How many records are in each of some sets.
CREATE OR REPLACE FUNCTION {schema}.{name}_v1(keys text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT '{name}', k.n, (SELECT count(*)::text FROM {schema}.{table} AS held WHERE held.{of} = k.key{where}),
        NULL::text, NULL::text, NULL::text
    FROM unnest(keys) WITH ORDINALITY AS k (key, n);
END $$;
