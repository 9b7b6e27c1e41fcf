-- Since when a picture is what it is: Last-Modified (RFC 9110, section 8.8.2). Of those that are there nobody knows.
ALTER TABLE pictures ADD COLUMN set_at timestamptz NOT NULL DEFAULT now();
