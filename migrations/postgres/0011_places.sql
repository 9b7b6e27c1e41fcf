-- A key makes a conversation the only one of its sort, for example the one between two people. Most have none.
ALTER TABLE conversations ADD COLUMN key text CONSTRAINT conversations_key UNIQUE;

CREATE INDEX conversations_of_group ON conversations (group_id, id) WHERE group_id IS NOT NULL;

-- The newest message that the participant wrote since it joined. In no index, so that it moves with own_after at no cost.
ALTER TABLE participants ADD COLUMN last_own_id bigint;

UPDATE participants p SET last_own_id = (
    SELECT max(m.id) FROM messages m WHERE m.conversation_id = p.conversation_id AND m.author_id = p.partner_id
);
