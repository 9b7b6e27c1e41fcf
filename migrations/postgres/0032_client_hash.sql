-- Apart from the change of the table: readers go on while these are built. A retry has the client key and the content of
-- the first send.
CREATE UNIQUE INDEX messages_client_key_and_hash ON messages (conversation_id, author_id, client_key, client_hash)
    WHERE client_key IS NOT NULL;
CREATE UNIQUE INDEX messages_external_id ON messages (external_id) WHERE external_id IS NOT NULL;
