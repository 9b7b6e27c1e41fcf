-- Apart from the change of the table, which would keep readers waiting for as long as this takes. Of what was changed before, it is
-- not known when: those who come back are told of it once more.
UPDATE messages m SET changed_after = c.last_message_id FROM conversations c
WHERE c.id = m.conversation_id AND m.changed_after IS NULL AND (m.edited_at IS NOT NULL OR m.deleted_at IS NOT NULL);
