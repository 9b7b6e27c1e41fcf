-- Conversations of HISTORIES messages, each with a reader of its own, persons 65 to 68. Person 69 has 100 messages unread,
-- in conversation 1508, person 70 has 50,000, in conversation 1509. Person 1 has written them all.
INSERT INTO partners (id, name) SELECT n, 'Person ' || n FROM generate_series(65, 70) n;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000 + n, gen_random_uuid(), 'person' || n, '', n, 'user', 'en_US', 'UTC', '{}', now() FROM generate_series(65, 70) n;
INSERT INTO sessions (key, user_id, created_at, last_used_at)
SELECT sha256(convert_to(lpad(to_hex(n), 40, '0'), 'UTF8')), 1000 + n, now(), now() FROM generate_series(65, 70) n;

CREATE TEMP TABLE large AS
SELECT 1499 + place AS id, messages, 64 + place AS reader FROM unnest(ARRAY[HISTORIES]) WITH ORDINALITY AS h(messages, place)
UNION ALL VALUES (1508, 100, 69), (1509, 50000, 70);
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq)
SELECT id, gen_random_uuid(), 'group', 'group', 'Conversation ' || id, now(), messages FROM large;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after)
SELECT id, reader, now(), 0, 0 FROM large UNION ALL SELECT id, 1, now(), 0, messages FROM large;
INSERT INTO memberships (conversation_id, partner_id, from_position)
SELECT id, reader, 0 FROM large UNION ALL SELECT id, 1, 0 FROM large;
INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
SELECT nextval('messages_id'), id, seq, 1, 'text', 'A message of a usual length, neither short nor long.', false, now()
FROM large, generate_series(1, messages) seq;
UPDATE conversations c SET last_message_id = m.id, last_message_at = m.created_at
FROM messages m WHERE m.conversation_id = c.id AND m.seq = c.last_seq AND c.id BETWEEN 1500 AND 1509;
-- As autovacuum leaves tables that have been there for a while.
VACUUM ANALYZE;
