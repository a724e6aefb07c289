"""What a base adds to an audit of its fine-tune, measured on fine-tunes of the embedded model."""
