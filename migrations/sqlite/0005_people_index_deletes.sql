-- A deleted text leaves the index of people at once, not with a later merge.
INSERT INTO partners_folded (partners_folded, rank) VALUES ('secure-delete', 1);
