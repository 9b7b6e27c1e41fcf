-- 200 people with a session each, like those of seed.sql, and one conversation of all of them.
INSERT INTO partners (id, name) SELECT n, 'Mixed ' || n FROM generate_series(200001, 200200) n ON CONFLICT DO NOTHING;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000000 + n, gen_random_uuid(), 'mixed' || n, '', n, 'user', 'en_US', 'UTC', '{}', now()
FROM generate_series(200001, 200200) n ON CONFLICT DO NOTHING;
INSERT INTO sessions (key, user_id, created_at, last_used_at)
SELECT sha256(convert_to(lpad(to_hex(n), 40, '0'), 'UTF8')), 1000000 + n, now(), now()
FROM generate_series(200001, 200200) n ON CONFLICT DO NOTHING;
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq)
VALUES (200000, gen_random_uuid(), 'group', 'group', repeat('n', 255), now(), 0) ON CONFLICT DO NOTHING;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
SELECT 200000, n, now(), 0 FROM generate_series(200001, 200200) n ON CONFLICT DO NOTHING;
INSERT INTO memberships (conversation_id, partner_id, from_position)
SELECT 200000, n, 0 FROM generate_series(200001, 200200) n ON CONFLICT DO NOTHING;
ANALYZE;
