ALTER TABLE participants
    -- Messages up to this seq are hidden from the participant.
    ADD COLUMN visible_from_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN role text NOT NULL DEFAULT 'member',
    ADD COLUMN muted_until timestamptz;

-- Participants come and go under the lock of their conversation, so this waits for nobody.
CREATE FUNCTION raise_version_of_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id IN (SELECT conversation_id FROM changed);
    RETURN NULL;
END
$$;
CREATE TRIGGER participants_join_version AFTER INSERT ON participants REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION raise_version_of_conversation();
CREATE TRIGGER participants_leave_version AFTER DELETE ON participants REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION raise_version_of_conversation();

CREATE FUNCTION raise_version_with_participant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id = NEW.conversation_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER participants_mute_version AFTER UPDATE OF muted_until ON participants
    FOR EACH ROW WHEN (OLD.muted_until IS DISTINCT FROM NEW.muted_until) EXECUTE FUNCTION raise_version_with_participant();
