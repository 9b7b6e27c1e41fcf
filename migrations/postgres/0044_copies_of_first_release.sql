-- The first release changes a message and leaves its copies in the log as they were. Its fact of the change holds the message
-- as it is now, so the copies are rewritten from there.
CREATE OR REPLACE FUNCTION name_message_of_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    message bigint[] := message_of_fact(NEW.fact);
    kind text := split_part(NEW.fact::text, '"', 4);
BEGIN
    NEW.message_id := message[1];
    NEW.seq := message[2];
    IF kind <> 'message_posted' THEN
        UPDATE events e SET fact = ('{"fact":"' || split_part(e.fact::text, '"', 4) || substr(NEW.fact::text, 10 + length(kind)))::json
        WHERE e.message_id = NEW.message_id;
    END IF;
    RETURN NEW;
END
$$;
