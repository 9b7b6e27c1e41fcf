DROP INDEX messages_client_key;
ALTER INDEX messages_client_key_and_hash RENAME TO messages_client_key;
