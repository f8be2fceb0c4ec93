"""Local inference: model files, device, tokens, batches on the device."""
