-- Change and make {table}; what is to be changed must be there.
CREATE OR REPLACE FUNCTION {schema}.write_{table}_v1(change jsonb, mark jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    item jsonb;
    made {schema}.{table};
BEGIN
    FOR item IN SELECT jsonb_array_elements(change->'{table}_changed') LOOP
        made := jsonb_populate_record(NULL::{schema}.{table}, item || mark);
        UPDATE {schema}.{table} AS old SET
            {made_columns}
        WHERE old.{key} = made.{key};
        IF NOT FOUND THEN
            RAISE EXCEPTION '% of {table} is not there to be changed', made.{key} USING ERRCODE = '40001';
        END IF;
    END LOOP;
    IF change ? '{table}_made' THEN -- a statement that finds nothing to insert takes as long as the look for a stamp
        INSERT INTO {schema}.{table}
        SELECT added.* FROM jsonb_array_elements(change->'{table}_made') AS added_json,
            jsonb_populate_record(NULL::{schema}.{table}, added_json || mark) AS added;
    END IF;
END $$;
