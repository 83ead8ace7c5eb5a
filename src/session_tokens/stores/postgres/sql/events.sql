-- The log of events: the event of a change is a row of the same commit.
--
-- {schema} is the name space. A row's place is the server's timeline, which each promotion raises, before the
-- transaction's number, and then how many the transaction wrote before. Transactions commit in another order than that of
-- their numbers, so the log is shown only below the oldest number that is still under way on the server: nothing can come
-- to stand there any more. The events of one subject stand in the order of their commits all the same: who changes it has
-- seen what the one before committed (else the stamp had moved), and only then begun the transaction that writes.

-- The place of a transaction of that number on the server as it is now.
CREATE OR REPLACE FUNCTION {schema}.place_v1(number xid8) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint << 44) + number::text::bigint
$$;

-- Write the events of one command; answer how many its transaction has written with them.
CREATE OR REPLACE FUNCTION {schema}.write_events_v1(change jsonb, before integer) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    place CONSTANT bigint := {schema}.place_v1(pg_current_xact_id());
BEGIN
    INSERT INTO {schema}.events
    SELECT place, before + told.number - 1, (told.item->>0)::bigint, told.item->>1, told.item->>2
    FROM jsonb_array_elements(change->'events') WITH ORDINALITY AS told (item, number);
    RETURN before + jsonb_array_length(change->'events');
END $$;

-- First a row of now; up to where the log was taken away; the place after which nothing is shown; since when (an
-- instant) the oldest event waits that is not shown yet. Then of each event after a place, at most so many, a row of its
-- place, text and MAC. It is STABLE, so that all is seen in one snapshot.
CREATE OR REPLACE FUNCTION {schema}.events_v1(after_place bigint, after_minor integer, most bigint) RETURNS TABLE (
    now bigint, trimmed_place bigint, trimmed_minor integer, newest bigint, waits_since bigint,
    place bigint, minor integer, text text, mac text
) LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    shown CONSTANT bigint := {schema}.place_v1(pg_snapshot_xmin(pg_current_snapshot()));
BEGIN
    now := {schema}.now_v1();
    newest := {schema}.place_v1(pg_snapshot_xmax(pg_current_snapshot()));
    SELECT t.place, t.minor INTO trimmed_place, trimmed_minor FROM {schema}.events_trimmed t WHERE t.single;
    SELECT e.at INTO waits_since FROM {schema}.events e
    WHERE e.place >= shown AND e.place < newest ORDER BY e.place, e.minor LIMIT 1;
    newest := shown - 1;  -- the next transaction gets the place of xmax
    RETURN NEXT;
    RETURN QUERY
    SELECT NULL::bigint, NULL::bigint, NULL::integer, NULL::bigint, NULL::bigint, e.place, e.minor, e.text, e.mac
    FROM {schema}.events e
    WHERE (e.place, e.minor) > (after_place, after_minor) AND e.place < shown
    ORDER BY e.place, e.minor LIMIT most;
END $$;

-- Take away the oldest events beyond keep, at most so many; answer how many. What stands beyond every transaction of
-- this server came with a dump from another one, and would never be shown.
CREATE OR REPLACE FUNCTION {schema}.trim_events_v1(keep bigint, most bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    cut record;
    last record;
    gone bigint;
BEGIN
    DELETE FROM {schema}.events e WHERE e.place >= {schema}.place_v1(pg_snapshot_xmax(pg_current_snapshot()));
    SELECT e.place, e.minor INTO cut FROM {schema}.events e ORDER BY e.place DESC, e.minor DESC OFFSET keep LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT oldest.place, oldest.minor INTO last FROM (
        SELECT e.place, e.minor FROM {schema}.events e
        WHERE (e.place, e.minor) <= (cut.place, cut.minor) ORDER BY e.place, e.minor LIMIT most
    ) AS oldest ORDER BY oldest.place DESC, oldest.minor DESC LIMIT 1;
    UPDATE {schema}.events_trimmed t SET place = last.place, minor = last.minor
    WHERE t.single AND (t.place, t.minor) < (last.place, last.minor);
    DELETE FROM {schema}.events e WHERE (e.place, e.minor) <= (last.place, last.minor);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
