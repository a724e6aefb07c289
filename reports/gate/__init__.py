"""Judge a finished audit by a policy and write the verdict in every format."""
