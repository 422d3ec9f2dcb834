"""Networks: shapes in, shapes out; no training and no files here."""
