-- 32 people write: each of the conversations 1 to 1000 holds two of them, conversation 1001 all. 32 others read: each has
-- ten conversations of its own with five unread messages. The session of person n is n in 40 hexadecimal digits.
INSERT INTO partners (id, name) SELECT n, 'Person ' || n FROM generate_series(1, 64) n;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000 + n, gen_random_uuid(), 'person' || n, '', n, 'user', 'en_US', 'UTC', '{}', now() FROM generate_series(1, 64) n;
INSERT INTO sessions (key, user_id, created_at, last_used_at)
SELECT sha256(convert_to(lpad(to_hex(n), 40, '0'), 'UTF8')), 1000 + n, now(), now() FROM generate_series(1, 64) n;

INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq)
SELECT n, gen_random_uuid(), 'group', 'group', 'Conversation ' || n, now(), CASE WHEN n > 1001 THEN 5 ELSE 0 END
FROM generate_series(1, 1321) n;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
SELECT n, (n + other) % 32 + 1, now(), 0 FROM generate_series(1, 1000) n, generate_series(0, 1) other
UNION ALL SELECT 1001, n, now(), 0 FROM generate_series(1, 32) n
UNION ALL SELECT 1001 + n, 33 + n % 32, now(), 0 FROM generate_series(1, 320) n;

-- Whom the log tells what happens: those who have been in a conversation from the start.
INSERT INTO memberships (conversation_id, partner_id, from_position) SELECT conversation_id, partner_id, 0 FROM participants;

SELECT setval('people_id', 2000), setval('conversations_id', 2000);
CREATE SEQUENCE bench_positions;
ANALYZE;
