-- Which messages name an upload. It is kept as long as there is one.
CREATE TABLE upload_mentions (
    name text NOT NULL REFERENCES uploads ON DELETE CASCADE,
    message_id bigint NOT NULL REFERENCES messages,
    PRIMARY KEY (name, message_id)
);

CREATE INDEX upload_mentions_of ON upload_mentions (message_id);

-- Takes for a mention at least what the program takes for one.
INSERT INTO upload_mentions (name, message_id)
SELECT DISTINCT u.name, m.id
FROM messages m
CROSS JOIN LATERAL regexp_matches(m.body || ' ' || coalesce(m.metadata::text, ''),
    '/([A-Za-z0-9_-]+/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:\.[a-z0-9]+)?)', 'g') AS found(names)
JOIN uploads u ON u.name = found.names[1];

-- Those of messages that were deleted are not named any more, and those that only metadata or an edit named are.
UPDATE uploads u SET kept = EXISTS (SELECT FROM upload_mentions m WHERE m.name = u.name);
