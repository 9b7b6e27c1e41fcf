-- Person 65 reads conversations of 1,000 and of 1,000,000 messages, 1500 and 1501. Person 66 has 100 messages unread, in
-- conversation 1502, person 67 has 50,000, in conversation 1503. Person 1 has written them all.
INSERT INTO partners (id, name) SELECT n, 'Person ' || n FROM generate_series(65, 67) n;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000 + n, gen_random_uuid(), 'person' || n, '', n, 'user', 'en_US', 'UTC', '{}', now() FROM generate_series(65, 67) n;
INSERT INTO sessions (key, user_id, created_at, last_used_at)
SELECT sha256(convert_to(lpad(to_hex(n), 40, '0'), 'UTF8')), 1000 + n, now(), now() FROM generate_series(65, 67) n;

CREATE TEMP TABLE large AS
SELECT * FROM (VALUES (1500, 1000, 65), (1501, 1000000, 65), (1502, 100, 66), (1503, 50000, 67)) AS large(id, messages, reader);
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq)
SELECT id, gen_random_uuid(), 'group', 'group', 'Conversation ' || id, now(), messages FROM large;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after)
SELECT id, reader, now(), 0, 0 FROM large UNION ALL SELECT id, 1, now(), 0, messages FROM large;
INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
SELECT nextval('messages_id'), id, seq, 1, 'text', 'A message of a usual length, neither short nor long.', false, now()
FROM large, generate_series(1, messages) seq;
UPDATE conversations c SET last_message_id = m.id, last_message_at = m.created_at
FROM messages m WHERE m.conversation_id = c.id AND m.seq = c.last_seq AND c.id BETWEEN 1500 AND 1503;
-- As autovacuum leaves tables that have been there for a while.
VACUUM ANALYZE messages;
ANALYZE;
