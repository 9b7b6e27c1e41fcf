-- What storing one message writes, as the fastest transaction that does only that: a single statement. Both pgbench and
-- the bare handler run it. Positions come from a sequence here, so that no two transactions wait for each other as those
-- of Dragoman do for the head of the log.
\set conversation random(:first, :last)
\set author (:conversation + :spread * random(0, 31)) % 32 + 1
WITH moved AS (
    UPDATE conversations
    SET last_seq = last_seq + 1, last_message_id = nextval('messages_id'), last_message_at = now()
    WHERE id = :conversation RETURNING id, last_seq, last_message_id
), stored AS (
    INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
    SELECT last_message_id, id, last_seq, :author, 'text', 'A message of a usual length, neither short nor long.', false,
        now()
    FROM moved
), counted AS (
    UPDATE participants SET own_after = own_after + 1 WHERE conversation_id = :conversation AND partner_id = :author
)
INSERT INTO events (position, conversation_id, fact, at)
SELECT nextval('bench_positions'), id, 'FACT', now()
FROM moved;
