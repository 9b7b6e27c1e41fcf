-- The newest message of the conversation when a message was last edited or deleted: for clients that come back and ask what has
-- changed of what they know. No clock decides what came first: both happen under the lock of the conversation.
ALTER TABLE messages ADD COLUMN changed_after bigint;

-- Of what was changed before, it is not known when: those who come back are told of it once more.
UPDATE messages m SET changed_after = c.last_message_id FROM conversations c
WHERE c.id = m.conversation_id AND (m.edited_at IS NOT NULL OR m.deleted_at IS NOT NULL);

-- The first release does not know the column. It may go on changing messages while nodes are upgraded one after the other.
CREATE FUNCTION note_change_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_after := (SELECT last_message_id FROM conversations WHERE id = NEW.conversation_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER messages_changed BEFORE UPDATE OF edited_at, deleted_at ON messages
    FOR EACH ROW WHEN (NEW.edited_at IS DISTINCT FROM OLD.edited_at OR NEW.deleted_at IS DISTINCT FROM OLD.deleted_at)
    EXECUTE FUNCTION note_change_of_message();

CREATE INDEX messages_changed ON messages (conversation_id, changed_after, (greatest(edited_at, deleted_at)), id)
    WHERE changed_after IS NOT NULL;
