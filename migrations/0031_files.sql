ALTER TABLE attachments
    ADD COLUMN sha256 bytea,
    -- Of pictures and films, in pixels.
    ADD COLUMN width int,
    ADD COLUMN height int,
    -- Of sounds and films.
    ADD COLUMN duration_milliseconds bigint;

-- The owner of an upload is a partner, as that of an attachment. The first release reads and writes owner_id alone.
ALTER TABLE uploads ADD COLUMN partner_id bigint REFERENCES partners;

UPDATE uploads u SET partner_id = (SELECT account.partner_id FROM users account WHERE account.id = u.owner_id);

-- Only its owner's messages keep an upload. Where there is no message of the owner's, what kept it so far goes on to.
DELETE FROM upload_mentions foreign_one
USING messages m, uploads u
WHERE m.id = foreign_one.message_id AND u.name = foreign_one.name AND m.author_id <> u.partner_id
    AND EXISTS (
        SELECT FROM upload_mentions own JOIN messages own_message ON own_message.id = own.message_id
        WHERE own.name = foreign_one.name AND own_message.author_id = u.partner_id
    );

-- The first release kept the files of deleted messages. Their bytes go with the sweep of orphaned objects.
DELETE FROM attachments a
WHERE a.sent AND NOT EXISTS (SELECT FROM message_attachments ma WHERE ma.attachment_id = a.id);
