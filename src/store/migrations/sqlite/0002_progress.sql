-- How the mTLS of a mesh stands, as JSON. Without it, a mesh stands as it says:
-- before this column, enabling and disabling were done at once.
ALTER TABLE mesh ADD COLUMN progress TEXT;
