-- Only its owner's messages keep an upload. Where there is no message of the owner's, what kept it so far goes on to.
DELETE FROM upload_mentions foreign_one
USING messages m, uploads u
WHERE m.id = foreign_one.message_id AND u.name = foreign_one.name AND m.author_id <> u.partner_id
    AND EXISTS (
        SELECT FROM upload_mentions own JOIN messages own_message ON own_message.id = own.message_id
        WHERE own.name = foreign_one.name AND own_message.author_id = u.partner_id
    );
