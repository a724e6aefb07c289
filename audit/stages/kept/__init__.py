"""What a run keeps for later commands: identities of stages, recorded sets, settings; resuming and replaying."""
