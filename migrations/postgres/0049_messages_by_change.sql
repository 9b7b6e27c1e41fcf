CREATE INDEX messages_changed ON messages (conversation_id, changed_after, (greatest(edited_at, deleted_at)), id)
    WHERE changed_after IS NOT NULL;
