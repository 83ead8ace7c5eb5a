-- Which peppers records may be under: those that some process has had as its current one, and since when.
--
-- {schema} is the name space. A process that lacks one of them cannot tell whether what it does not find is there.

ALTER TABLE {schema}.peppers ADD COLUMN used_at timestamptz;

CREATE FUNCTION {schema}.peppers_in_use_v1() RETURNS SETOF {schema}.found_v1
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT 'peppers_in_use', 1::bigint, NULL::text, NULL::text, NULL::text, p.key_id
    FROM {schema}.peppers p
    WHERE p.used_at IS NOT NULL
    ORDER BY p.key_id;
END $$;
