-- Of a picture, in pixels. NULL for what is none, and for what a node of an earlier release has taken.
ALTER TABLE uploads
    ADD COLUMN width int,
    ADD COLUMN height int;
