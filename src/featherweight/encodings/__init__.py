"""How a weight tensor is kept: to_tensor() is the reference, always right. Encodings nest."""
