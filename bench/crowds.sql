-- Persons 71 to 74 are in OWN conversations each, numbered from 100,000 times the person, with person 75, who has said
-- something in each. Persons 10,001 to 15,000 are many: conversations 1601 to 1605 hold CROWDS of them.
CREATE TEMP TABLE people AS
SELECT n, 1000 + n AS user_id FROM generate_series(71, 75) n UNION ALL SELECT n, 20000 + n FROM generate_series(10001, 15000) n;
INSERT INTO partners (id, name) SELECT n, 'Person ' || n FROM people;
INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
SELECT user_id, gen_random_uuid(), 'person' || n, '', n, 'user', 'en_US', 'UTC', '{}', now() FROM people;
INSERT INTO sessions (key, user_id, created_at, last_used_at)
SELECT sha256(convert_to(lpad(to_hex(n), 40, '0'), 'UTF8')), user_id, now(), now() FROM people;
SELECT setval('people_id', 40000);

CREATE TEMP TABLE own AS
SELECT 100000 * (70 + place) + n AS id, 70 + place AS person, nextval('messages_id') AS message
FROM unnest(ARRAY[OWN]) WITH ORDINALITY AS o(conversations, place), generate_series(1, conversations) n;
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id, last_message_at)
SELECT id, gen_random_uuid(), 'group', 'group', 'Conversation ' || id, now(), 1, message, now() FROM own;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after, last_own_id)
SELECT id, person, now(), 0, 0, NULL FROM own UNION ALL SELECT id, 75, now(), 0, 1, message FROM own;
INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
SELECT message, id, 1, 75, 'text', 'A message of a usual length, neither short nor long.', false, now() FROM own;

CREATE TEMP TABLE crowds AS
SELECT 1600 + place AS id, people FROM unnest(ARRAY[CROWDS]) WITH ORDINALITY AS c(people, place);
INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at)
SELECT id, gen_random_uuid(), 'group', 'group', 'Conversation ' || id, now() FROM crowds;
INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
SELECT id, n, now(), 0 FROM crowds, generate_series(10001, 10000 + people) n;

INSERT INTO memberships (conversation_id, partner_id, from_position)
SELECT conversation_id, partner_id, 0 FROM participants
WHERE conversation_id IN (SELECT id FROM own UNION ALL SELECT id FROM crowds);
VACUUM ANALYZE;
