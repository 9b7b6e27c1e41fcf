-- The same writes as those of send.sql, as an application sends them: one transaction of four statements.
\set conversation random(:first, :last)
\set author (:conversation + :spread * random(0, 31)) % 32 + 1
BEGIN;
UPDATE conversations
SET last_seq = last_seq + 1, last_message_id = nextval('messages_id'), last_message_at = now()
WHERE id = :conversation RETURNING last_seq, last_message_id \gset
INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
VALUES (:last_message_id, :conversation, :last_seq, :author, 'text', 'A message of a usual length, neither short nor long.',
    false, now());
UPDATE participants SET own_after = own_after + 1 WHERE conversation_id = :conversation AND partner_id = :author;
INSERT INTO events (position, conversation_id, fact, at)
VALUES (nextval('bench_positions'), :conversation, 'FACT', now());
COMMIT;
