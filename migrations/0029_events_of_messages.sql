-- The message that a fact holds a copy of, so that the copies can be redacted with it, and the seq of the message that a
-- fact is about, so that it stays hidden from those to whom the message is.
ALTER TABLE events
    ADD COLUMN message_id bigint,
    ADD COLUMN seq bigint;

-- The first release names no message. It may go on writing while nodes are upgraded one after the other.
CREATE FUNCTION name_message_of_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.message_id := (NEW.fact #>> '{of,id}')::bigint;
    NEW.seq := (NEW.fact #>> '{of,seq}')::bigint;
    RETURN NEW;
END
$$;
CREATE TRIGGER events_of_first_release BEFORE INSERT ON events
    FOR EACH ROW WHEN (NEW.message_id IS NULL AND NEW.fact::text ~ '^\{"fact":"message_(posted|edited|deleted|shown)"')
    EXECUTE FUNCTION name_message_of_event();
