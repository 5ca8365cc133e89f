"""The language model that is a policy: how it reads and writes, how it is made, and where models come from."""
