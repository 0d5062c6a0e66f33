"""Images in shards: tar files, Parquet and Arrow tables, on disk or in remote storage, in reach by position."""
