-- The newest message of the conversation when a message was last edited or deleted: for clients that come back and ask what has
-- changed of what they know. No clock decides what came first: both happen under the lock of the conversation.
ALTER TABLE messages ADD COLUMN changed_after bigint;

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
