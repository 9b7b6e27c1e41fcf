-- A store of the first release. Ann (partner 1) and Ben (partner 2) have accounts 11 and 12, and are in a group and in a
-- direct conversation. Whatever says "secret" was edited, deleted or taken out since.
INSERT INTO partners (id, name) VALUES (1, 'Ann'), (2, 'Ben');
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
VALUES (11, gen_random_uuid(), 'ann', 'hash', 1, 'user', '', '', '{}', now()),
    (12, gen_random_uuid(), 'ben', 'hash', 2, 'user', '', '', '{}', now());
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id)
VALUES (1, gen_random_uuid(), 'group', 'group', '', now(), 6, 7), (2, gen_random_uuid(), 'direct', 'chat', '', now(), 2, 8);
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after)
VALUES (1, 1, now(), 0, 5), (1, 2, now(), 0, 2), (2, 1, now(), 0, 1), (2, 2, now(), 0, 1);
INSERT INTO memberships (conversation_id, partner_id, from_position)
SELECT c, p, 0 FROM generate_series(1, 2) c, generate_series(1, 2) p;

INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments, client_key, held,
    created_at, edited_at, deleted_at)
VALUES
    (1, 1, 1, 1, 'text', 'kept', NULL, false, 'k1', false, '2023-11-14T22:13:20.123456Z', NULL, NULL),
    (2, 1, 2, 1, 'text', 'edited "twice"', '{"z": 1.0, "a":[null, "\u0000"], "big": 1e400, "a": 2}', false, 'k2', false,
        '2023-11-14T22:13:21Z', '2023-11-14T22:13:29.5Z', NULL),
    (3, 1, 3, 2, 'image', '', NULL, false, NULL, false, '2023-11-14T22:13:22Z', '2023-11-14T22:13:23Z',
        '2023-11-14T22:13:30Z'),
    (4, 1, 4, 1, 'file', 'files', NULL, true, NULL, false, '2023-11-14T22:13:23Z', NULL, NULL),
    (5, 2, 1, 2, 'video', 'shown', NULL, false, NULL, false, '2023-11-14T22:13:24Z', NULL, NULL),
    (6, 1, 5, 1, 'notice', 'says "held":true', '{"kept": "\u0000"}', false, NULL, false, '2023-11-14T22:13:25Z', NULL, NULL),
    (7, 1, 6, 2, 'profile', 'forgotten', NULL, false, NULL, false, '2023-11-14T22:13:26Z', NULL, NULL),
    (8, 2, 2, 1, 'file', 'held', NULL, true, NULL, true, '2023-11-14T22:13:27Z', NULL, NULL);
-- Attachment 1 was sent with message 3 and 3 with message 4; 5 was never sent.
INSERT INTO attachments (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sent)
SELECT id, 'object ' || id, name, 'image/png', 7, 'token', 1, '2023-11-14T22:13:20Z', id <> 5
FROM (VALUES (1, 'secret'), (2, 'kept'), (4, 'held'), (5, 'unsent')) AS f(id, name);
INSERT INTO message_attachments (message_id, place, attachment_id) VALUES (4, 1, 2), (8, 0, 4);

-- As serde has written it.
CREATE FUNCTION pg_temp.fact(kind text, id bigint, body text, metadata text, attachments text, held boolean, edited_at text,
    deleted_at text) RETURNS json LANGUAGE sql AS $$
    SELECT format('{"fact":"message_%s","of":{"id":%s,"seq":%s,"conversation":%s,"author":{"partner":%s,"user":%s,"name":%s},'
        '"message_type":"%s","body":%s,"metadata":%s,"attachments":%s,"client_key":%s,"held":%s,"created_at":"%s",'
        '"edited_at":%s,"deleted_at":%s}}', fact.kind, m.id, m.seq, m.conversation_id, m.author_id, m.author_id + 10,
        to_json(p.name), m.message_type, to_json(fact.body), fact.metadata, fact.attachments,
        coalesce(to_json(m.client_key)::text, 'null'), CASE WHEN fact.held THEN 'true' ELSE 'false' END,
        to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), fact.edited_at, fact.deleted_at)::json
    FROM messages m JOIN partners p ON p.id = m.author_id WHERE m.id = fact.id
$$;
CREATE FUNCTION pg_temp.file(id bigint, name text) RETURNS text LANGUAGE sql AS $$
    SELECT format('{"id":%s,"object":"object %1$s","name":"%s","mimetype":"image/png","size_bytes":7,"access_token":"token",'
        '"owner":1,"created_at":"2023-11-14T22:13:20Z"}', id, name)
$$;
INSERT INTO events (position, conversation_id, partner_id, fact, at)
SELECT row_number() OVER (), CASE WHEN kind = 'user' THEN NULL WHEN id IN (5, 8) THEN 2 ELSE 1 END,
    CASE WHEN kind = 'user' THEN 1 END, fact, now()
FROM (VALUES
    ('posted', 1, pg_temp.fact('posted', 1, 'kept', 'null', '[]', false, 'null', 'null')),
    ('posted', 2, pg_temp.fact('posted', 2, 'secret', '{"z": 1.0, "a":[null, "\u0000"], "big": 1e400, "a": 2}', '[]', false,
        'null', 'null')),
    ('posted', 3, pg_temp.fact('posted', 3, 'secret', '{"secret": "\u0000"}', '[' || pg_temp.file(1, 'secret') || ']', false,
        'null', 'null')),
    ('edited', 2, pg_temp.fact('edited', 2, 'also secret', '{"z": 1.0, "a":[null, "\u0000"], "big": 1e400, "a": 2}', '[]',
        false, '"2023-11-14T22:13:28Z"', 'null')),
    ('edited', 3, pg_temp.fact('edited', 3, 'secret still', 'null', '[]', false, '"2023-11-14T22:13:23Z"', 'null')),
    ('read', 0, '{"fact":"read_up_to","of":{"partner":2,"seq":2,"messages":[1,2]}}'),
    ('posted', 4, pg_temp.fact('posted', 4, 'files', 'null',
        '[' || pg_temp.file(3, 'secret') || ',' || pg_temp.file(2, 'kept') || ']', false, 'null', 'null')),
    ('posted', 5, pg_temp.fact('posted', 5, 'shown', 'null', '[]', true, 'null', 'null')),
    ('shown', 5, pg_temp.fact('shown', 5, 'shown', 'null', '[]', false, 'null', 'null')),
    ('edited', 2, pg_temp.fact('edited', 2, 'edited "twice"', '{"z": 1.0, "a":[null, "\u0000"], "big": 1e400, "a": 2}', '[]',
        false, '"2023-11-14T22:13:29.500Z"', 'null')),
    ('deleted', 3, pg_temp.fact('deleted', 3, '', 'null', '[]', false, '"2023-11-14T22:13:23Z"', '"2023-11-14T22:13:30Z"')),
    ('posted', 6, pg_temp.fact('posted', 6, 'says "held":true', '{"kept": "\u0000"}', '[]', false, 'null', 'null')),
    ('posted', 8, pg_temp.fact('posted', 8, 'held', 'null', '[' || pg_temp.file(4, 'held') || ']', true, 'null', 'null')),
    ('user', 0, '{"fact":"user_changed","of":{"user":11}}')
) AS happened(kind, id, fact);
UPDATE log_head SET position = (SELECT max(position) FROM events);

-- Of Ann's are "shared", which both name, and "foreign", which only Ben names; Ben's is "own".
INSERT INTO uploads (name, owner_id, mimetype, limit_bytes, expires_at, kept, object, content_type, size_bytes, put_at)
SELECT name, owner, '', 9, now() - interval '1 day', true, name, '', 1, now()
FROM (VALUES ('shared', 11), ('foreign', 11), ('own', 12)) AS u(name, owner);
INSERT INTO upload_mentions (name, message_id) VALUES ('shared', 1), ('shared', 7), ('foreign', 7), ('own', 7);

INSERT INTO nodes (id, until) VALUES ('00000000-0000-0000-0000-000000000001', '2123-01-01');
INSERT INTO attendances (partner_id, node_id) VALUES (1, '00000000-0000-0000-0000-000000000001');
SELECT setval('messages_id', 8), setval('conversations_id', 2), setval('people_id', 20), setval('attachments_id', 5);
