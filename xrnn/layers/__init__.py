"""The layers. `forward` trains and keeps a cache, a call infers, `backward` fills `grads` in place."""
