"""Record shards in other processes: what builds a recorder there, and who hands out the shards."""
