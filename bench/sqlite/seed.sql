-- The people and conversations of ../seed.sql, in a SQLite file. Their sessions are copied from PostgreSQL, since SQLite has no
-- SHA-256.
CREATE TEMP TABLE clock AS SELECT unixepoch() * 1000000 AS now;
CREATE TEMP TABLE numbers AS WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1321)
SELECT n FROM numbers;
BEGIN;
INSERT INTO partners (id, name) SELECT n, 'Person ' || n FROM numbers WHERE n <= 64;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000 + n, randomblob(16), 'person' || n, '', n, 'user', 'en_US', 'UTC', '{}', now FROM numbers, clock WHERE n <= 64;

INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq)
SELECT n, randomblob(16), 'group', 'group', 'Conversation ' || n, now, CASE WHEN n > 1001 THEN 5 ELSE 0 END FROM numbers, clock;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
SELECT n, (n + other) % 32 + 1, now, 0 FROM numbers, (SELECT 0 AS other UNION ALL SELECT 1), clock WHERE n <= 1000
UNION ALL SELECT 1001, n, now, 0 FROM numbers, clock WHERE n <= 32
UNION ALL SELECT 1001 + n, 33 + n % 32, now, 0 FROM numbers, clock WHERE n <= 320;
INSERT INTO memberships (conversation_id, partner_id, from_position) SELECT conversation_id, partner_id, 0 FROM participants;

UPDATE sequences SET value = 2000 WHERE name IN ('people_id', 'conversations_id');
COMMIT;
