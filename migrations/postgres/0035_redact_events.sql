-- Apart from the change of the table, which would keep writers waiting for as long as this takes. The log of the first
-- release still tells what was edited, deleted or shown since, and which files were deleted.
UPDATE events e SET message_id = m.id, seq = m.seq, fact = CASE
    WHEN m.edited_at IS NULL AND m.deleted_at IS NULL AND NOT m.has_attachments AND strpos(e.fact::text, '"held":true') = 0
    THEN e.fact
    ELSE ('{"fact":"' || split_part(e.fact::text, '"', 4) || '","of":' || json_build_object(
        'id', m.id, 'seq', m.seq, 'conversation', m.conversation_id,
        'author', json_build_object('partner', m.author_id,
            'user', (SELECT account.id FROM users account WHERE account.partner_id = m.author_id),
            'name', (SELECT person.name FROM partners person WHERE person.id = m.author_id)),
        'message_type', m.message_type, 'body', m.body, 'metadata', m.metadata,
        'attachments', coalesce((
            SELECT json_agg(json_build_object('id', f.id, 'object', f.object, 'name', f.name, 'mimetype', f.mimetype,
                'size_bytes', f.size_bytes, 'access_token', f.access_token, 'owner', f.owner_id, 'created_at', f.created_at)
                ORDER BY held.place)
            FROM message_attachments held JOIN attachments f ON f.id = held.attachment_id WHERE held.message_id = m.id
        ), '[]'),
        'client_key', m.client_key, 'held', m.held, 'created_at', m.created_at, 'edited_at', m.edited_at,
        'deleted_at', m.deleted_at) || '}')::json
    END
FROM messages m
WHERE e.message_id IS NULL AND m.id = (message_of_fact(e.fact))[1];
