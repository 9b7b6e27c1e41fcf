ALTER TABLE attachments
    ADD COLUMN sha256 bytea,
    -- Of pictures and films, in pixels.
    ADD COLUMN width int,
    ADD COLUMN height int,
    -- Of sounds and films.
    ADD COLUMN duration_milliseconds bigint;

-- The first release kept the files of deleted messages. Their bytes go with the sweep of orphaned objects.
DELETE FROM attachments a
WHERE a.sent AND NOT EXISTS (SELECT FROM message_attachments ma WHERE ma.attachment_id = a.id);
