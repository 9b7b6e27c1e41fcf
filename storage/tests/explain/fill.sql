-- 6,000 people. Conversation 1 holds 100,000 messages, every fifth with a file, every tenth with two reactions, and six
-- people, of whom the newcomers 7 and 8 see the last 100 and the last 50,000. Conversation 2 holds 5,000 people, conversation 3
-- a thousand messages with one and the same client key. Person 3 is in 10,000 conversations, 11 to 10010, with 500 others in turn, with each of whom one is direct; person
-- 4 is in the first thousand of them, too, but for those. 20,000 conversations are support sessions, 20001 to 40000: the last
-- 100 wait, the 100 before them are joined, all others are closed. 20,000 more are like most: two people, nothing new.
INSERT INTO partners (id, name) SELECT n, 'p' || n FROM generate_series(1, 6000) n;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT n + 10000, gen_random_uuid(), 'u' || n, '', n, CASE WHEN n < 10 THEN 'agent' ELSE 'user' END, '', '', '{}', now()
FROM generate_series(1, 6000) n;

INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id, last_message_at)
VALUES (1, gen_random_uuid(), 'group', 'group', '', now(), 100000, 100000, now()),
    (2, gen_random_uuid(), 'group', 'group', '', now(), 60, 110060, now()),
    (3, gen_random_uuid(), 'group', 'group', '', now(), 1000, 141000, now());
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id, last_message_at)
SELECT 10 + n, gen_random_uuid(), CASE WHEN n <= 500 THEN 'direct' ELSE 'group' END, 'chat', '', now(), 1, 100000 + n, now()
FROM generate_series(1, 10000) n;
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id, last_message_at, closed_at)
SELECT 20000 + n, gen_random_uuid(), 'support', 'chat', '', now(), 1, 120000 + n, now(), CASE WHEN n <= 19800 THEN now() END
FROM generate_series(1, 20000) n;
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at)
SELECT 40000 + n, gen_random_uuid(), 'group', 'group', '', now() FROM generate_series(1, 20000) n;

INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after, last_own_id)
VALUES (1, 1, now(), 100000, 0, 100000), (1, 2, now(), 0, 0, NULL), (1, 5, now(), 0, 1, 90000), (1, 6, now(), 0, 0, NULL),
    (3, 1, now(), 1000, 0, 141000);
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, visible_from_seq)
VALUES (1, 7, now(), 99900, 99900), (1, 8, now(), 50000, 50000);
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after, last_own_id)
SELECT 2, n, now(), 0, CASE WHEN n = 1001 THEN 60 ELSE 0 END, CASE WHEN n = 1001 THEN 110060 END FROM generate_series(1001, 6000) n
UNION ALL SELECT 10 + n, 3, now(), 0, 0, NULL FROM generate_series(1, 10000) n
UNION ALL SELECT 10 + n, 100 + n % 500, now(), 0, 1, 100000 + n FROM generate_series(1, 10000) n
UNION ALL SELECT 10 + n, 4, now(), 0, 0, NULL FROM generate_series(501, 1500) n
UNION ALL SELECT 20000 + n, 600 + n % 400, now(), 0, 1, 120000 + n FROM generate_series(1, 20000) n
UNION ALL SELECT 40000 + n, 5 + (n * 7 + p * 1999) % 5995, now(), 0, 0, NULL FROM generate_series(1, 20000) n, generate_series(1, 2) p;
INSERT INTO memberships (conversation_id, partner_id, from_position, visible_from_seq)
SELECT conversation_id, partner_id, visible_from_seq, visible_from_seq FROM participants WHERE conversation_id <= 20000;

INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, client_key, created_at)
SELECT n, 1, n, CASE n WHEN 90000 THEN 5 ELSE 1 END, 'text', 'hello', n % 5 = 0, 'k' || n, now() - interval '1 hour' FROM generate_series(1, 100000) n
UNION ALL SELECT 100000 + n, 10 + n, 1, 100 + n % 500, 'text', 'hello', false, NULL, now() - interval '1 hour'
FROM generate_series(1, 10000) n
UNION ALL SELECT 110000 + n, 2, n, 1001, 'text', 'hello', false, NULL, now() - interval '1 hour' FROM generate_series(1, 60) n
UNION ALL SELECT 120000 + n, 20000 + n, 1, 600 + n % 400, 'text', 'hello', false, NULL, now() - interval '1 hour'
FROM generate_series(1, 20000) n
UNION ALL SELECT 140000 + n, 3, n, 1, 'text', 'hello', false, 'again', now() - interval '1 hour' FROM generate_series(1, 1000) n;
UPDATE messages SET client_hash = decode(lpad(to_hex(id), 64, '0'), 'hex'), has_reactions = id % 10 = 0 WHERE client_key IS NOT NULL;
INSERT INTO reactions (message_id, partner_id, content, at)
SELECT 10 * n, p, 'like', now() FROM generate_series(1, 10000) n, generate_series(5, 6) p;
INSERT INTO attachments (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sent)
SELECT n, 'o' || n, '', '', 0, '', 1, now(), true FROM generate_series(1, 20000) n;
INSERT INTO message_attachments (message_id, place, attachment_id) SELECT 5 * n, 1, n FROM generate_series(1, 20000) n;
INSERT INTO events (position, conversation_id, fact, at, message_id, seq)
SELECT m.id, m.conversation_id, format('{"fact":"message_posted","of":{"id":%s,"seq":%s,"conversation":%s,"author":{"partner":%s,"user":null,'
    '"name":"p"},"message_type":"text","body":"hello","metadata":null,"attachments":[],"client_key":null,"held":false,'
    '"created_at":"2023-11-14T22:13:20Z","edited_at":null,"deleted_at":null}}', m.id, m.seq, m.conversation_id, m.author_id)::json, now() - interval '1 hour', m.id, m.seq
FROM messages m WHERE m.id <= 110060;

INSERT INTO support_sessions (conversation_id, initiator_id, initiator_pinged_at, joiner_id, joiner_pinged_at)
SELECT 20000 + n, 600 + n % 400, now(), CASE WHEN n <= 19900 THEN 7 END, CASE WHEN n <= 19900 THEN now() END
FROM generate_series(1, 20000) n;
INSERT INTO support_seen (conversation_id, by_initiator, seq, at) SELECT 20000 + n, false, 1, now() FROM generate_series(1, 19800) n;
INSERT INTO devices (user_id, name, connection, created_at, updated_at, expires_at)
SELECT 10000 + n, 'phone', 'c' || n, now(), now(), now() FROM generate_series(1, 6000) n;
INSERT INTO uploads (name, owner_id, partner_id, mimetype, limit_bytes, expires_at, kept)
SELECT 'f' || n, 10000 + n, n, '', 1, now() - interval '1 hour', n % 2 = 0 FROM generate_series(1, 6000) n;
INSERT INTO audit (at, actor_kind, actor_id, action, outcome)
SELECT now() - interval '1 hour' + n * interval '1 millisecond', 'user', 10000 + n % 100, 'sign_in', 'ok' FROM generate_series(1, 20000) n;
INSERT INTO presences (partner_id, last_seen) SELECT n, now() FROM generate_series(1, 6000) n;

UPDATE log_head SET position = 110060;
SELECT setval('messages_id', 200000), setval('conversations_id', 100000), setval('people_id', 20000);
ANALYZE;
