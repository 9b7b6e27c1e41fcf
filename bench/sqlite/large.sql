-- The conversations of ../large.sql, in a SQLite file. Nothing that follows must survive a power failure.
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
CREATE TEMP TABLE clock AS SELECT unixepoch() * 1000000 AS now;
CREATE TEMP TABLE large AS
SELECT id, messages, reader, sum(messages) OVER (ORDER BY id) - messages AS before FROM (
    SELECT 1500 + key AS id, value AS messages, 65 + key AS reader FROM json_each('[HISTORIES]')
    UNION ALL VALUES (1508, 100, 69), (1509, 50000, 70)
);
CREATE TEMP TABLE numbers AS
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < (SELECT max(messages) FROM large))
SELECT n FROM numbers;
BEGIN;
INSERT INTO partners (id, name) SELECT n, 'Person ' || n FROM numbers WHERE n BETWEEN 65 AND 70;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000 + n, randomblob(16), 'person' || n, '', n, 'user', 'en_US', 'UTC', '{}', now
FROM numbers, clock WHERE n BETWEEN 65 AND 70;

INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
SELECT value + before + n, id, n, 1, 'text', 'A message of a usual length, neither short nor long.', false, now
FROM sequences CROSS JOIN clock CROSS JOIN large CROSS JOIN numbers WHERE name = 'messages_id' AND n <= messages;
UPDATE sequences SET value = value + (SELECT sum(messages) FROM large) WHERE name = 'messages_id';
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id, last_message_at)
SELECT l.id, randomblob(16), 'group', 'group', 'Conversation ' || l.id, now, l.messages, m.id, now
FROM large l, clock JOIN messages m ON m.conversation_id = l.id AND m.seq = l.messages;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after)
SELECT id, reader, now, 0, 0 FROM large, clock UNION ALL SELECT id, 1, now, 0, messages FROM large, clock;
INSERT INTO memberships (conversation_id, partner_id, from_position)
SELECT id, reader, 0 FROM large UNION ALL SELECT id, 1, 0 FROM large;
COMMIT;
