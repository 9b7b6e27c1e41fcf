-- The files of a conversation, newest first.
CREATE INDEX messages_with_files ON messages (conversation_id, id) WHERE has_attachments;
