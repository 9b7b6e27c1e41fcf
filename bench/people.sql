-- 50,000 people beside those of seed.sql, among whom somebody searches.
INSERT INTO partners (id, name, email)
SELECT n, 'Person ' || n, 'person.' || n || '@example.com' FROM generate_series(100001, 150000) n ON CONFLICT DO NOTHING;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT 1000000 + n, gen_random_uuid(), 'person.' || n, '', n, 'user', 'en_US', 'UTC', '{}', now()
FROM generate_series(100001, 150000) n ON CONFLICT DO NOTHING;
ANALYZE partners, users;
