    IF change->'{table}_gone' IS NOT NULL THEN
        DELETE FROM {schema}.{table}
        WHERE {key} = ANY(ARRAY(SELECT jsonb_array_elements_text(change->'{table}_gone')));
    END IF;
    IF change->'{table}_put' IS NOT NULL THEN
        INSERT INTO {schema}.{table}
        SELECT put.* FROM jsonb_array_elements(change->'{table}_put') AS put_json,
            jsonb_populate_record(NULL::{schema}.{table}, put_json || mark) AS put
        ON CONFLICT ({key}) DO UPDATE SET
            {excluded_columns};
    END IF;
