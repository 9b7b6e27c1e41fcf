-- The message that a fact holds a copy of, so that the copies can be redacted with it, and the seq of the message that a
-- fact is about, so that it stays hidden from those to whom the message is.
ALTER TABLE events
    ADD COLUMN message_id bigint,
    ADD COLUMN seq bigint;

-- The id and the seq of the message that a fact of the first release holds a copy of; NULL if it holds none. As text: the
-- functions for JSON refuse all of it if a text in it has a \u0000, as metadata may.
CREATE FUNCTION message_of_fact(fact json) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_match(fact::text,
        '^\{"fact":"message_(?:posted|edited|deleted|shown)","of":\{"id":([0-9]+),"seq":([0-9]+),')::bigint[]
$$;

-- The first release names no message. It may go on writing while nodes are upgraded one after the other.
CREATE FUNCTION name_message_of_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    message bigint[] := message_of_fact(NEW.fact);
BEGIN
    NEW.message_id := message[1];
    NEW.seq := message[2];
    RETURN NEW;
END
$$;
CREATE TRIGGER events_of_first_release BEFORE INSERT ON events
    FOR EACH ROW WHEN (NEW.message_id IS NULL AND NEW.seq IS NULL AND left(NEW.fact::text, 17) = '{"fact":"message_')
    EXECUTE FUNCTION name_message_of_event();
