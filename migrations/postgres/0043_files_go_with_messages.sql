-- A file goes with the last message that holds it, whoever deletes that message: nodes of the first release may go on while
-- nodes are upgraded one after the other.
CREATE FUNCTION delete_unheld_attachment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM attachments a
    WHERE a.id = OLD.attachment_id AND NOT EXISTS (SELECT FROM message_attachments h WHERE h.attachment_id = a.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER unheld_attachments AFTER DELETE ON message_attachments
    FOR EACH ROW EXECUTE FUNCTION delete_unheld_attachment();
