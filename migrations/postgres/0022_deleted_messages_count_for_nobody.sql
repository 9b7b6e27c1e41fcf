-- What was deleted is unread for nobody, so own_after counts it, too: how many messages with a seq above read_seq the
-- partner wrote itself, or were deleted.
UPDATE participants p SET own_after = p.own_after + gone.messages
FROM (
    SELECT p.conversation_id, p.partner_id, count(*) AS messages
    FROM messages m JOIN participants p ON p.conversation_id = m.conversation_id
    WHERE m.deleted_at IS NOT NULL AND m.seq > p.read_seq AND m.author_id <> p.partner_id
    GROUP BY p.conversation_id, p.partner_id
) gone
WHERE p.conversation_id = gone.conversation_id AND p.partner_id = gone.partner_id;
