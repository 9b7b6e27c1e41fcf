-- The owner of an upload is a partner, as that of an attachment. The first release reads and writes owner_id alone.
ALTER TABLE uploads ADD COLUMN partner_id bigint REFERENCES partners;

UPDATE uploads u SET partner_id = (SELECT account.partner_id FROM users account WHERE account.id = u.owner_id);
