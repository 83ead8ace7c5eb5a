-- Which records have each of some keys: {name} by {column}, and with each what it is judged by.
CREATE OR REPLACE FUNCTION {schema}.{name}_v1(keys text[]) RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT '{name}', k.n, {answers}
    FROM unnest(keys) WITH ORDINALITY AS k (key, n)
    CROSS JOIN LATERAL (SELECT held FROM {schema}.{table} AS held WHERE held.{column} = k.key OFFSET 0) AS g ({letter})
    {with}
    ;
END $$;
