-- Apart from the change of the table, which would keep writers waiting for as long as this takes.
UPDATE events SET message_id = (fact #>> '{of,id}')::bigint, seq = (fact #>> '{of,seq}')::bigint
WHERE message_id IS NULL AND fact::text ~ '^\{"fact":"message_(posted|edited|deleted|shown)"';

CREATE INDEX events_of_message ON events (message_id) WHERE message_id IS NOT NULL;

-- The log of the first release still tells what was edited or deleted since.
UPDATE events e SET fact = jsonb_set(e.fact::jsonb, '{of}', (e.fact::jsonb -> 'of')
    || jsonb_build_object('body', m.body, 'edited_at', m.edited_at, 'deleted_at', m.deleted_at)
    || CASE WHEN m.deleted_at IS NULL THEN '{}' ELSE '{"metadata": null, "attachments": []}'::jsonb END)::json
FROM messages m
WHERE m.id = e.message_id AND (m.edited_at IS NOT NULL OR m.deleted_at IS NOT NULL);
