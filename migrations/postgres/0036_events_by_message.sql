CREATE INDEX events_of_message ON events (message_id) WHERE message_id IS NOT NULL;
